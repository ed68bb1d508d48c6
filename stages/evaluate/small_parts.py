"""Which connected parts of a mask are too small to be kept: a size in params.yaml, or one chosen on the other folds.

Under `auto` the size of a reported fold is the one with the highest mean DSC over the out-of-fold predictions of all
other folds, so that no volume that is reported chose for itself. What is kept of a volume for that are three numbers a
part: with them the DSC after any removal is arithmetic.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stages.common.atomic import atomic_write
from stages.common.errors import ParamsError
from stages.common.imaging.masks.components import Components
from stages.common.imaging.zyx import Spacing
from stages.common.text import as_csv
from stages.evaluate.cells import Cell
from stages.evaluate.params import Evaluation

COMPONENTS_CSV = "components.csv"
ALL_FOLDS = "all"


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The connected parts of one predicted mask: voxels, and voxels in common with the label.

    `counted` are the voxels of a part that somebody labelled, which alone count in the DSC; None: all of them.
    """

    loss: str
    fold: int
    voxel_um3: float
    voxels: NDArray[np.int64]
    common: NDArray[np.int64]
    reference_voxels: int
    counted: NDArray[np.int64] | None = None

    @property
    def size_um3(self) -> NDArray[np.float64]:
        """The size of each part."""
        return self.voxels.astype(np.float64) * np.float64(self.voxel_um3)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The size below which parts are removed in `fold`, 0: none are. The mean DSC of the volumes that chose it, before
    and after; None if nobody chose. The fold `all` is for stacks that no fold has seen.
    """

    loss: str
    fold: int | str
    min_component_um3: float
    dsc_before: float | None
    dsc_after: float | None


def refuse_too_few_folds(cells: Sequence[Cell], evaluation: Evaluation) -> None:
    """Raise ParamsError if `auto` has no other fold to choose on."""
    if not evaluation.chooses_size:
        return
    for loss in dict.fromkeys(cell.loss for cell in cells):
        folds = {cell.fold for cell in cells if cell.loss == loss and cell.volumes}
        if len(folds) < 2:
            raise ParamsError(
                "params.yaml [evaluation] `min_component_um3`: auto needs a second fold to choose the size on",
                remedy="list two or more in training.folds, or give a size in µm³, or null",
                value=sorted(folds),
            )


def parts_of(
    loss: str,
    fold: int,
    mask_zyx: NDArray[np.bool_],
    label_zyx: NDArray[np.bool_],
    spacing_um: Spacing,
    labelled_zyx: NDArray[np.bool_] | None = None,
) -> Parts:
    """The parts of `mask_zyx` with what they share with `label_zyx`, and with `labelled_zyx` where not all is."""
    found = Components(mask_zyx)
    return Parts(
        loss=loss,
        fold=fold,
        voxel_um3=prod(spacing_um),
        voxels=found.voxels,
        common=found.common_with(label_zyx),
        reference_voxels=int(np.count_nonzero(label_zyx)),
        counted=None if labelled_zyx is None else found.common_with(labelled_zyx),
    )


def choose(parts: Sequence[Parts]) -> list[Choice]:
    """For each loss and fold the best size on the other folds, and for each loss the best size on all of them."""
    choices = []
    for loss in dict.fromkeys(one.loss for one in parts):
        own = [one for one in parts if one.loss == loss]
        for fold in dict.fromkeys(one.fold for one in own):
            choices.append(_choose(loss, fold, [one for one in own if one.fold != fold]))
        choices.append(_choose(loss, ALL_FOLDS, own))
    return choices


def fixed(cells: Sequence[Cell], least_um3: float) -> list[Choice]:
    """The size of params.yaml, the same everywhere."""
    losses = dict.fromkeys(cell.loss for cell in cells)
    places: list[tuple[str, int | str]] = []
    for loss in losses:
        places += [(loss, cell.fold) for cell in cells if cell.loss == loss and cell.volumes]
        places.append((loss, ALL_FOLDS))
    return [
        Choice(loss=loss, fold=fold, min_component_um3=least_um3, dsc_before=None, dsc_after=None)
        for loss, fold in places
    ]


def _choose(loss: str, fold: int | str, parts: Sequence[Parts]) -> Choice:
    """The size with the highest mean DSC; of equals the smallest, which removes least.

    What can be told apart is between two sizes of parts: half a voxel above each is tried. (The next larger part's
    own size would do the same here, and could cost a whole vessel elsewhere.)
    """
    above = [one.size_um3 + one.voxel_um3 / 2 for one in parts]
    sizes = np.unique(np.concatenate([[0.0], *above]))
    means = np.mean([dsc_without(one, sizes) for one in parts], axis=0)
    best = int(means.argmax())
    return Choice(
        loss=loss,
        fold=fold,
        min_component_um3=float(sizes[best]),
        dsc_before=float(means[0]),
        dsc_after=float(means[best]),
    )


def dsc_without(parts: Parts, sizes_um3: NDArray[np.float64]) -> NDArray[np.float64]:
    """The volume's DSC without its parts below each of `sizes_um3`; 1 where neither mask has a voxel left."""
    order = np.argsort(parts.size_um3, kind="stable")
    removed = np.searchsorted(parts.size_um3[order], sizes_um3, side="left")
    counted = parts.voxels if parts.counted is None else parts.counted
    left = counted.sum() - np.concatenate([[0], np.cumsum(counted[order])])[removed]
    common = parts.common.sum() - np.concatenate([[0], np.cumsum(parts.common[order])])[removed]
    both = left + parts.reference_voxels
    result: NDArray[np.float64] = np.where(both == 0, 1.0, 2 * common / np.maximum(both, 1))
    return result


def without_small(mask_zyx: NDArray[np.bool_], spacing_um: Spacing, least_um3: float) -> NDArray[np.bool_]:
    """`mask_zyx` without connected parts below `least_um3`."""
    if least_um3 == 0:
        return mask_zyx
    parts = Components(mask_zyx)
    return np.stack(list(parts.only(~parts.below(least_um3, spacing_um))))


def write_choices(folder: Path, choices: Sequence[Choice]) -> None:
    """Write components.csv; equal choices give equal bytes."""
    columns = ("loss", "fold", "min_component_um3", "dsc_before", "dsc_after")
    with atomic_write(folder / COMPONENTS_CSV) as stream:
        stream.write(as_csv(columns, map(vars, choices)))
