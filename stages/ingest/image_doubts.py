"""What is doubtful about the voxels of an image: slices that are blank, and numbers that were wrapped when saved."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.common.text import counted
from stages.ingest.labels.gaps import runs_of, slices_text

_SLICES, _SIDE = 8, 1024  # what is looked at of an image
_JUMP = 0.75  # of what the type can hold: neighbours in an image differ by less, as light is blurred
_MOST_JUMPS = 0.01  # of all neighbours
_LEAST_JUMPS = 20
_MOST_OF_LOW = 0.05  # of the voxels below half of the lowest value of a signed type
_WRAPPED = "neighbouring voxels often differ by nearly all that {} can hold; were larger values wrapped on saving?"


def doubts_about(image_zyx: NDArray[Any], contrast_z: NDArray[np.float32]) -> Iterator[str]:
    """Of an image (z, y, x) of several values; `contrast_z` is 0 for each slice that may be blank."""
    if blank := _blank_between(image_zyx, contrast_z):
        runs = runs_of(np.isin(np.arange(len(image_zyx)), blank))
        slices = f"{counted(len(blank), 'slice')} between others ({slices_text(runs)})"
        yield f"all voxels are equal in {slices} of the image; was something lost on saving?"
    if _looks_wrapped(image_zyx):
        yield _WRAPPED.format(image_zyx.dtype.name)


def _blank_between(image_zyx: NDArray[Any], contrast_z: NDArray[np.float32]) -> list[int]:
    """Blank slices that are not at an end: there, registration leaves some."""
    planes = zip(image_zyx, contrast_z, strict=True)
    blank = np.array([contrast == 0 and bool((plane == plane[0, 0]).all()) for plane, contrast in planes])
    full = np.flatnonzero(~blank)
    return [z for z in np.flatnonzero(blank).tolist() if full[0] < z < full[-1]] if len(full) else []


def _looks_wrapped(image_zyx: NDArray[Any]) -> bool:
    """Whether values beyond the type came out at its other end, as 300 comes out as 44 in 8 bits."""
    if image_zyx.dtype.kind not in "iu" or image_zyx.dtype.itemsize > 2:
        return False
    bounds = np.iinfo(image_zyx.dtype)
    jump = _JUMP * (int(bounds.max) - int(bounds.min))
    depth, *sides = image_zyx.shape
    y, x = (slice(max(0, (side - _SIDE) // 2), max(0, (side - _SIDE) // 2) + _SIDE) for side in sides)
    part = image_zyx[:: -(-depth // _SLICES), y, x].astype(np.int32)
    pairs = [np.abs(np.diff(part, axis=axis)) > jump for axis in (1, 2)]
    jumps = sum(int(np.count_nonzero(each)) for each in pairs)
    if bounds.min < 0:  # what came out below 0 is a part of each bright thing
        low = int(np.count_nonzero(part < bounds.min // 2))
        return jumps > max(_MOST_OF_LOW * low, _LEAST_JUMPS)
    return jumps > max(_MOST_JUMPS * sum(each.size for each in pairs), _LEAST_JUMPS)
