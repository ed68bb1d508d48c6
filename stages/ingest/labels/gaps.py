"""Slices without a vessel where others have many: an annotator who labels every tenth slice leaves 0 in the others."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stages.common.text import counted

_SIDE = 4  # tiles along y and x of a slice
_MANY = 8  # tiles with vessel: a single one crosses fewer
_SAME_CONTRAST = 0.5  # of the slices with vessel: a darker one may show none
_LONG = 0.25  # of the stack: of the first and last slices fewer may be left out on purpose
_LISTED = 3


def doubt_of_gaps(vessel_zyx: NDArray[np.uint8], contrast_z: NDArray[np.float32]) -> str:
    """A remark on slices of a label (z, y, x) without a vessel, next to slices full of them; "" without such slices.

    `contrast_z` is how much the voxels of each of the image's slices differ: those with little may have no vessel.
    """
    filled: NDArray[np.bool_] = np.any(vessel_zyx, axis=(1, 2))
    if filled.all() or not filled.any():
        return ""
    runs = [run for run in runs_of(~filled) if _is_doubtful(run, len(filled))]
    least = _SAME_CONTRAST * float(np.median(contrast_z[filled]))
    runs = [run for run in runs if float(np.median(contrast_z[run.start : run.stop])) >= least]
    edges = {z for run in runs for z in (run.start - 1, run.stop) if 0 <= z < len(filled)}
    if not edges or float(np.median([_tiles_with_vessel(vessel_zyx[z]) for z in edges])) < _MANY:
        return ""
    count = sum(map(len, runs))
    empty = f"{counted(count, 'slice')} of {len(filled)} ({slices_text(runs)})"
    said = f"the label has no vessel in {empty}, and many next to them"
    return f"{said}; if nobody labelled them, fill them with the value of ingest.ignore_value"


def runs_of(flags_z: NDArray[np.bool_]) -> list[range]:
    """The runs of slices that are true."""
    turns = np.flatnonzero(np.diff(np.concatenate(([0], flags_z.view(np.int8), [0])))).tolist()
    return [range(start, stop) for start, stop in zip(turns[::2], turns[1::2], strict=True)]


def _is_doubtful(run: range, depth: int) -> bool:
    """Whether it is between slices with vessel, or a long one at an end."""
    return (run.start > 0 and run.stop < depth) or len(run) >= _LONG * depth


def _tiles_with_vessel(slice_yx: NDArray[np.uint8]) -> int:
    rows = np.array_split(slice_yx, _SIDE, axis=0)
    return sum(bool(tile.any()) for row in rows for tile in np.array_split(row, _SIDE, axis=1))


def slices_text(runs: Sequence[range]) -> str:
    """Slices counted from 1, as viewers do."""
    shown = [f"{run.start + 1}" if len(run) == 1 else f"{run.start + 1}-{run.stop}" for run in runs[:_LISTED]]
    return ", ".join(shown) + (", …" if len(runs) > _LISTED else "")
