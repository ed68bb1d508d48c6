"""Removing small parts: the arithmetic against masks with the parts removed, and who may choose the size."""

from dataclasses import replace
from math import prod
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import label as scipy_label

from stages.common.errors import ParamsError
from stages.evaluate.cells import Cell
from stages.evaluate.small_parts import (
    ALL_FOLDS,
    Choice,
    Parts,
    choose,
    dsc_without,
    fixed,
    parts_of,
    refuse_too_few_folds,
    without_small,
    write_choices,
)
from tests.support.tracking.cards import CARD
from tests.unit.stages.evaluate.made import evaluation

SPACING_UM = (2.0, 0.5, 0.5)
Mask = NDArray[np.bool_]


def pair(seed: int, share: float = 0.06) -> tuple[Mask, Mask]:
    """A prediction with one large part in the label, and specks next to it."""
    rng = np.random.default_rng(seed)
    label = np.zeros((4, 20, 20), dtype=np.bool_)
    label[:, 8:12, :] = True
    return (label & (rng.random(label.shape) < 0.9)) | (rng.random(label.shape) < share), label


def removed_by_scipy(mask: Mask, least_um3: float) -> Mask:
    labels, count = scipy_label(mask, structure=np.ones((3, 3, 3)))
    keep = np.bincount(labels.ravel(), minlength=count + 1) * prod(SPACING_UM) >= least_um3
    keep[0] = False
    return np.asarray(keep[labels])


def dsc(mask: Mask, label: Mask) -> float:
    both = mask.sum() + label.sum()
    return float(2 * (mask & label).sum() / both) if both else 1.0


def parts(seed: int, fold: int, loss: str = "dice_ce") -> Parts:
    return parts_of(loss, fold, *pair(seed), SPACING_UM)


@pytest.mark.parametrize("least_um3", [0.0, 0.4, 0.5, 0.6, 1.0, 3.0, 1e6])
def test_removal_and_its_arithmetic_agree_with_scipy(least_um3: float) -> None:
    """The mask without small parts, and the DSC that is known without making it."""
    mask, label = pair(1)
    expected = removed_by_scipy(mask, least_um3)
    np.testing.assert_array_equal(without_small(mask, SPACING_UM, least_um3), expected)
    found = dsc_without(parts_of("dice_ce", 0, mask, label, SPACING_UM), np.array([least_um3]))
    assert found[0] == pytest.approx(dsc(expected, label))


@pytest.mark.parametrize(("vessel", "after"), [(False, 1.0), (True, 0.0)])
def test_nothing_left_follows_the_rules_of_empty_masks(vessel: bool, after: float) -> None:
    """Both empty is 1, an empty prediction of a vessel is 0."""
    mask, label = np.zeros((2, 6, 6), dtype=np.bool_), np.zeros((2, 6, 6), dtype=np.bool_)
    mask[0, 0, 0], label[1, 5, 5] = True, vessel
    found = dsc_without(parts_of("dice_ce", 0, mask, label, SPACING_UM), np.array([0.0, 10.0]))
    assert found.tolist() == [0.0, after]


def test_the_chosen_size_is_the_best_on_the_other_folds() -> None:
    """For each fold: no size, tried one after the other on the masks of the other folds, has a higher mean DSC."""
    seeds = {0: (1, 2), 1: (3,), 2: (4, 5)}
    every = [parts(seed, fold) for fold, some in seeds.items() for seed in some]
    choices = {one.fold: one for one in choose(every)}
    assert set(choices) == {0, 1, 2, ALL_FOLDS}
    for fold, one in choices.items():
        pairs = [pair(seed) for other, some in seeds.items() if other != fold for seed in some]

        def mean_dsc(size: float, pairs: list[tuple[Mask, Mask]] = pairs) -> float:
            return float(np.mean([dsc(removed_by_scipy(mask, size), label) for mask, label in pairs]))

        best = max(mean_dsc(size) for size in np.arange(0, 300) * 0.5)
        assert one.dsc_after == pytest.approx(best)
        assert mean_dsc(one.min_component_um3) == pytest.approx(best)
        assert one.dsc_before == pytest.approx(mean_dsc(0))
        assert one.min_component_um3 > 0
        # of the sizes that are as good the smallest: half a voxel below it something else is left
        assert mean_dsc(one.min_component_um3 - 0.51 * prod(SPACING_UM)) < best


def test_the_reported_fold_has_no_say() -> None:
    """Whatever is predicted in fold 0, its own size stays; the others' may change."""
    others = [parts(seed, fold) for fold, seed in ((1, 3), (2, 4))]
    first = choose([parts(1, 0), *others])
    tiny = replace(parts(1, 0), voxels=np.array([900, 1]), common=np.array([0, 1]))
    second = choose([tiny, *others])
    assert first[0] == second[0]
    assert first[-1] != second[-1]


def test_each_loss_chooses_for_itself() -> None:
    """A loss's predictions do not move another one's size."""
    alone = choose([parts(1, 0), parts(3, 1)])
    beside = choose([parts(1, 0), parts(3, 1), parts(7, 0, "cbdice"), parts(8, 1, "cbdice")])
    assert beside[:3] == alone
    assert [(one.loss, one.fold) for one in beside] == [
        (loss, fold) for loss in ("dice_ce", "cbdice") for fold in (0, 1, ALL_FOLDS)
    ]


def cell(loss: str, fold: int, volumes: int = 1) -> Cell:
    """A cell with placeholder volumes."""
    return Cell(loss=loss, fold=fold, card=CARD, volumes=(mock.sentinel.volume,) * volumes)


def test_a_fixed_size_is_the_same_in_every_fold() -> None:
    """Each loss has one choice per fold that validates a volume, and one for unseen stacks."""
    choices = fixed([cell("dice_ce", 0), cell("dice_ce", 1, 0), cell("cbdice", 0), cell("cbdice", 1)], 2.5)
    places = [("dice_ce", 0), ("dice_ce", ALL_FOLDS), ("cbdice", 0), ("cbdice", 1), ("cbdice", ALL_FOLDS)]
    assert choices == [
        Choice(loss=loss, fold=fold, min_component_um3=2.5, dsc_before=None, dsc_after=None) for loss, fold in places
    ]


def test_a_choice_needs_a_second_fold() -> None:
    """auto with a single fold that validates volumes is an error; a fixed size works with one fold."""
    auto = evaluation(min_component_um3="auto")
    both = [cell("dice_ce", 0), cell("dice_ce", 1)]
    alone = ([cell("dice_ce", 1), cell("cbdice", 1)], [cell("dice_ce", 1), cell("dice_ce", 0, 0)])
    for cells in (*alone, [*both, cell("cbdice", 1)]):
        with pytest.raises(ParamsError, match="auto needs a second fold") as caught:
            refuse_too_few_folds(cells, auto)
        assert caught.value.value == [1]
        refuse_too_few_folds(cells, evaluation(min_component_um3=3.0))
    refuse_too_few_folds(both, auto)


def test_choices_are_a_table(tmp_path: Path) -> None:
    """One row per choice; the scores of a fixed size are empty."""
    chosen = Choice(loss="dice_ce", fold=0, min_component_um3=1.25, dsc_before=0.5, dsc_after=0.75)
    write_choices(tmp_path, [chosen, *fixed([cell("cbdice", 2)], 0.0)])
    assert (tmp_path / "components.csv").read_text() == (
        "loss,fold,min_component_um3,dsc_before,dsc_after\ndice_ce,0,1.25,0.5,0.75\ncbdice,2,0.0,,\ncbdice,all,0.0,,\n"
    )
