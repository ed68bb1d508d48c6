"""A stack far from the training is doubted, one like it is not."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from stages.common.errors import DamagedError
from stages.common.imaging.intensities.distribution import of_array
from stages.common.imaging.intensities.normalise import apply_scale, measure_scale
from stages.common.imaging.recipe import Recipe
from stages.common.imaging.volumes import Grid, Volume
from stages.common.tiling.volume import DiskVolume
from stages.common.tracking.cards.card import card_from
from stages.common.tracking.cards.domain import TrainingDomain
from stages.predict.domain import doubts_about
from stages.train.domain import measure_domain
from tests.support.tracking.cards import CARD

SPACING_UM = (5.0, 1.0, 1.0)
SHAPE = (6, 64, 64)
NORMALISATIONS = ["percentile", "zscore", "none"]


def vessels(seed: int, gain: float = 1.0) -> NDArray[np.float32]:
    """A few bright lines on a dark, noisy ground; `gain` is the detector's."""
    rng = np.random.default_rng(seed)
    stack = rng.gamma(2, 8, SHAPE)
    for row in rng.integers(0, SHAPE[1], 5):
        stack[:, row] += 120
    return np.rint(stack * gain).astype(np.float32)


def recipe(normalisation: str) -> Recipe:
    return Recipe(normalisation=normalisation, percentile_low=0.5, percentile_high=99.5, resample_to_um=None)


def domain_of(normalisation: str) -> TrainingDomain:
    """Of four stacks of vessels at two spacings."""
    measured = []
    for seed in range(4):
        stack = vessels(seed)
        values = of_array(apply_scale(stack, measure_scale(stack, recipe(normalisation))))
        assert values is not None
        measured.append(values.values())
    return TrainingDomain(
        volumes=4,
        lowest_um=(5.0, 0.6, 0.6),
        highest_um=(5.0, 1.0, 1.0),
        lowest={name: min(one[name] for one in measured) for name in measured[0]},
        highest={name: max(one[name] for one in measured) for name in measured[0]},
    )


def doubts(
    folder: Path,
    stack: NDArray[np.float32],
    normalisation: str = "percentile",
    spacing_um: tuple[float, float, float] = SPACING_UM,
) -> list[str]:
    with DiskVolume(folder / "image", stack.shape, stack.dtype) as image:
        image.append(iter(stack))
        scale = measure_scale(image, recipe(normalisation))
        return list(doubts_about(image, scale, spacing_um, [domain_of(normalisation)], normalisation))


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
def test_another_stack_of_the_same_kind_is_not_doubted(tmp_path: Path, normalisation: str) -> None:
    """With a frame that motion correction left, too."""
    stack = vessels(9)
    stack[:, :20] = 0
    assert doubts(tmp_path, vessels(8), normalisation) == []
    assert doubts(tmp_path, stack, normalisation) == []


@pytest.mark.parametrize(("normalisation", "count"), [("percentile", 0), ("zscore", 0), ("none", 1)])
def test_the_gain_counts_only_where_nothing_normalises_it(tmp_path: Path, normalisation: str, count: int) -> None:
    """A detector 20 times as bright."""
    assert len(doubts(tmp_path, vessels(8, gain=20), normalisation)) == count


@pytest.mark.parametrize("normalisation", ["percentile", "zscore"])
def test_noise_and_dark_vessels_are_doubted(tmp_path: Path, normalisation: str) -> None:
    """With what was measured and what the training had."""
    noise = np.random.default_rng(0).normal(100, 10, SHAPE).astype(np.float32)
    for stack in (noise, 255 - vessels(8)):
        (doubt,) = doubts(tmp_path, stack, normalisation)
        assert "normalised stack is" in doubt
        assert "training stacks was" in doubt


def test_a_saturated_stack_is_doubted(tmp_path: Path) -> None:
    """A tenth of it at the detector's limit."""
    stack = vessels(8)
    stack = np.minimum(stack, np.quantile(stack, 0.9)).astype(np.float32)
    assert any("saturated" in doubt for doubt in doubts(tmp_path, stack))


@pytest.mark.parametrize(
    ("spacing_um", "is_far"),
    [((5.0, 0.31, 0.31), False), ((9.9, 1.9, 1.9), False), ((5.0, 0.29, 0.6), True), ((11.0, 1.0, 1.0), True)],
)
def test_a_spacing_is_far_beyond_a_factor_of_two(
    tmp_path: Path, spacing_um: tuple[float, float, float], is_far: bool
) -> None:
    """Both spacings are named."""
    found = doubts(tmp_path, vessels(8), spacing_um=spacing_um)
    assert bool(found) is is_far
    assert not is_far or "the training stacks had" in found[0]


def test_a_card_without_a_domain_says_nothing(tmp_path: Path) -> None:
    """As those of former versions."""
    with DiskVolume(tmp_path / "image", SHAPE, np.float32) as image:
        scale = measure_scale(vessels(0), recipe("percentile"))
        assert list(doubts_about(image, scale, (99.0, 99.0, 99.0), [], "percentile")) == []
    assert card_from(asdict(CARD), "card", "r").domain is None


def test_train_measures_its_volumes_as_they_came(tmp_path: Path) -> None:
    """Ranges over the volumes; the spacing is the native one."""
    volumes = []
    for number, spacing in enumerate((0.6, 1.2)):
        folder = tmp_path / str(number)
        folder.mkdir()
        stack = vessels(number)
        np.save(folder / "image.npy", apply_scale(stack, measure_scale(stack, recipe("percentile"))))
        native = Grid(shape_zyx=SHAPE, spacing_um=(5.0, spacing, spacing))
        volumes.append(
            Volume(
                id=str(number),
                group="",
                shape_zyx=SHAPE,
                spacing_um=SPACING_UM,
                foreground_share=0.1,
                fold=0,
                folder=folder,
                native=native,
            )
        )
    domain = measure_domain(volumes)
    assert domain is not None
    assert (domain.volumes, domain.lowest_um, domain.highest_um) == (2, (5.0, 0.6, 0.6), (5.0, 1.2, 1.2))
    each = [of_array(volume.image()) for volume in volumes]
    medians = [values.median for values in each if values]
    assert (domain.lowest["median"], domain.highest["median"]) == (min(medians), max(medians))


@pytest.mark.parametrize(
    "change",
    [
        {"volumes": 0},
        {"lowest_um": [1, 2]},
        {"lowest": {"a": float("nan")}},
        {"highest": {}},
        {"more": 1},
        {"lowest": 3},
    ],
)
def test_a_domain_of_another_form_is_damage(change: dict[str, object]) -> None:
    """A card is a file as any other."""
    good = {"volumes": 1, "lowest_um": [1, 1, 1], "highest_um": [1, 1, 1], "lowest": {"a": 1}, "highest": {"a": 1}}
    assert card_from({**asdict(CARD), "domain": good}, "card", "r").domain is not None
    with pytest.raises(DamagedError, match="`domain` is not valid"):
        card_from({**asdict(CARD), "domain": {**good, **change}}, "card", "r")
