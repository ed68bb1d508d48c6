"""Intensities on a common scale, measured on each volume.

Stacks often carry a constant frame: motion correction shifts slices and fills the gap, acquisition leaves empty slices.
A frame of 30 % of the voxels would drag every percentile and mean towards its value, so statistics are taken from the
imaged part alone. What counts as frame, slice by slice: whole rows and columns at the slice's edge that hold one value,
and slices that hold one value. A dark background that the detector clipped to 0 is signal, not frame: it stays, even
where it touches the edge. Frames are left in the image; they are only not measured.

A volume is read slice by slice, as often as it takes: it may be an array, or are on the disk.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.common.errors import DataError
from stages.common.imaging.intensities.percentiles import percentiles
from stages.common.imaging.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Scale:
    """normalised = (intensity - offset) / divisor, clipped to [0, 1] where `clip`."""

    offset: float
    divisor: float
    clip: bool


def measure_scale(image_zyx: Iterable[NDArray[np.generic]], recipe: Recipe) -> Scale:
    """The scale that `recipe.normalisation` asks for, from the imaged part of a native volume.

    `image_zyx` gives its slices (yx) again each time that it is iterated over, as an array does.
    percentile: [percentile_low, percentile_high] (exact, linear interpolation) become [0, 1], with clipping.
    zscore: mean and standard deviation. none: as it is. Raises DataError when the volume has no contrast to scale.
    """
    if recipe.normalisation == "none":
        return Scale(offset=0.0, divisor=1.0, clip=False)

    def read() -> Iterator[NDArray[Any]]:
        # numpy interpolates no booleans
        planes = (plane.view(np.uint8) if plane.dtype == np.bool_ else plane for plane in image_zyx)
        return imaged_part(planes)

    if recipe.normalisation == "zscore":
        mean, deviation = _mean_and_deviation(read)
        return Scale(offset=mean, divisor=_contrast(deviation, "the standard deviation is 0"), clip=False)
    ends = [recipe.percentile_low, recipe.percentile_high]
    found = percentiles(read, ends)
    if found is None:
        value = float(np.asarray(next(iter(image_zyx))).flat[0])
        found = [value, value]
    low, high = found
    what = f"percentiles {ends[0]} and {ends[1]} are both {low:g}"
    return Scale(offset=low, divisor=_contrast(high - low, what), clip=True)


def apply_scale(image_zyx: NDArray[np.generic], scale: Scale) -> NDArray[np.float32]:
    """The normalised volume, zyx. Slice by slice in float64, so that memory stays at the result's own size.

    Raises DataError when a value does not fit float32.
    """
    normalised = np.empty(image_zyx.shape, dtype=np.float32)
    for source, target in zip(image_zyx, normalised, strict=True):
        scaled = (source.astype(np.float64) - scale.offset) / scale.divisor
        if scale.clip:
            np.clip(scaled, 0, 1, out=scaled)
        if np.abs(scaled).max() > np.finfo(np.float32).max:
            raise DataError(
                "an intensity is too large for 32-bit floats",
                remedy="set preprocess.normalisation to percentile or zscore, or correct the stack",
                value=float(np.abs(scaled).max()),
            )
        target[...] = scaled
    return normalised


def to_grey(image_yx: NDArray[np.float32]) -> NDArray[np.uint8]:
    """0..255 between the percentiles 0.5 and 99.5 of a picture; all 0 where it has no contrast."""
    low, high = np.percentile(image_yx.astype(np.float64), [0.5, 99.5])
    if high <= low:
        return np.zeros(image_yx.shape, dtype=np.uint8)
    scaled = np.clip((image_yx - low) / (high - low), 0, 1)
    grey: NDArray[np.uint8] = np.rint(scaled * 255).astype(np.uint8)
    return grey


def imaged_part(image_zyx: Iterable[NDArray[Any]]) -> Iterator[NDArray[Any]]:
    """Each slice without its constant frame (views, yx); slices that hold one value are left out."""
    parts = (_without_frame(plane) for plane in image_zyx)
    return (part for part in parts if part.size)


def _without_frame(plane: NDArray[Any]) -> NDArray[Any]:
    if (plane == plane.flat[0]).all():
        return plane[:0]
    for edge in (plane[0], plane[-1], plane[:, 0], plane[:, -1]):
        # one shift leaves one value on up to four sides: cut them all at once, down to the box of other values
        if edge.size > 1 and (edge == edge[0]).all():
            other = plane != edge[0]
            rows, columns = np.flatnonzero(other.any(axis=1)), np.flatnonzero(other.any(axis=0))
            return plane[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return plane


def _mean_and_deviation(read: Callable[[], Iterable[NDArray[Any]]]) -> tuple[float, float]:
    """Two passes in float64, a slice at a time: exact for large offsets, and no copy of the volume."""
    count, total = 0, 0.0
    for part in read():
        count, total = count + part.size, total + float(part.sum(dtype=np.float64))
    if not count:
        return 0.0, 0.0
    mean = total / count
    variance = sum(float(np.square(part.astype(np.float64) - mean).sum()) for part in read()) / count
    return mean, float(np.sqrt(variance))


def _contrast(width: float, what: str) -> float:
    if not width > 0:
        raise DataError(
            f"the volume has no contrast to normalise: {what}",
            remedy="widen preprocess.percentile_low and percentile_high, set preprocess.normalisation to none, "
            "or leave the stack out",
        )
    return width
