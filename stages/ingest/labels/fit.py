"""Whether a label lies on its image, by the voxels alone: vessels are brighter than what is around them, or darker.

A label that was saved mirrored, with its axes exchanged or a slice late, or that is another stack's, has the right
shape. Its correlation with the image tells: that of a right label falls to near 0 when it is mirrored.
"""

import hashlib
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MOST_VOXELS = 1 << 18  # of a sample
_LEAST_VOXELS = 10_000  # of an image: what fewer have in common may be chance
_CLIPPED = (0.1, 99.9)  # percentiles: one hot pixel must not decide
_SURE = 0.2  # a correlation that chance does not explain
_TURNED_RATIO, _MOVED_RATIO = 1.5, 1.18  # how much better another place must be than the label's own
_MOST_SLICES = 3  # that a label is moved by
_NO_FIT = 0.1  # a correlation below this may be chance

_Order = tuple[tuple[int, ...], tuple[int, ...]]  # the axes of the label, and the step (1, -1) along each after that
_AS_IT_IS: _Order = ((0, 1, 2), (1, 1, 1))


@dataclass(frozen=True, kw_only=True)
class ImageSample:
    """Every slice of an image (z, y, x), and every `step`-th voxel of it along y and x: each slice has the mean 0, and
    the deviation 1 where it has any contrast. `contrast_z` is the deviation that each slice had. `key` is equal for
    images of equal voxels.
    """

    shape_zyx: tuple[int, int, int]
    step: int
    values: NDArray[np.float32]
    contrast_z: NDArray[np.float32]
    key: str

    def of(self, mask_zyx: NDArray[Any]) -> NDArray[np.float32]:
        """The voxels of a mask (z, y, x) that are at the places of the sample."""
        return mask_zyx[:, :: self.step, :: self.step].astype(np.float32)


def sample_of(image_zyx: NDArray[Any]) -> ImageSample:
    """The sample of an image of finite numbers."""
    z, y, x = image_zyx.shape
    step = next(n for n in itertools.count(1) if z * math.ceil(y / n) * math.ceil(x / n) <= max(_MOST_VOXELS, z))
    # the difference of two float64 may be more than a float64 holds
    halves = np.ascontiguousarray(image_zyx[:, ::step, ::step], np.float64) / 2
    key = hashlib.sha256(str(image_zyx.shape).encode() + halves.tobytes()).hexdigest()
    values = _clipped(halves)
    values -= values.mean(axis=(1, 2), keepdims=True)
    deviation = values.std(axis=(1, 2), keepdims=True)
    values /= np.where(deviation > 0, deviation, 1)
    return ImageSample(shape_zyx=(z, y, x), step=step, values=values, contrast_z=deviation[:, 0, 0], key=key)


def _clipped(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """From 0 to 1 between the percentiles."""
    low, high = np.percentile(values, _CLIPPED)
    clipped: NDArray[np.float64] = (np.clip(values, low, high) - low) / (high - low or 1)
    return clipped.astype(np.float32)


def doubt_of_fit(
    sample: ImageSample, vessel_zyx: NDArray[np.uint8], labelled_zyx: NDArray[np.bool_] | None = None
) -> str:
    """A remark on a label (z, y, x; of the image's shape) that fits the image better in another order, or no better
    than by chance; "" for one that fits. Voxels that nobody labelled do not count; `labelled_zyx` None: all are.
    """
    labelled = np.ones(sample.shape_zyx, np.bool_) if labelled_zyx is None else labelled_zyx
    if np.count_nonzero(labelled) < _LEAST_VOXELS:
        return ""
    own = _fit_in(_AS_IT_IS, sample, vessel_zyx, labelled)
    turned = {order: _fit_in(order, sample, vessel_zyx, labelled) for order in _orders(sample.shape_zyx)}
    best = max(turned, key=lambda order: turned[order])
    if turned[best] >= max(_SURE, _TURNED_RATIO * own):
        fits = f"the label fits the image better with {_words(best)} ({_numbers(turned[best], own)})"
        return f"{fits}; were they saved in one order?"
    moved = dict(_moved(sample, vessel_zyx, labelled))
    by = max(moved, key=lambda slices: moved[slices], default=0)
    if by and moved[by] >= max(_SURE, _MOVED_RATIO * own):
        return f"the label fits the image better moved by {by:+} along z ({_numbers(moved[by], own)})"
    in_plane = max((fit for (axes, steps), fit in turned.items() if axes != _AS_IT_IS[0] or steps[0] == 1), default=0)
    if own < min(_NO_FIT, _TURNED_RATIO * in_plane):
        return f"the label does not follow the image (correlation {own:.2f}, mirrored {in_plane:.2f}); is it its own?"
    return ""


def _orders(shape_zyx: tuple[int, int, int]) -> Iterator[_Order]:
    """All but the label's own that leave the shape as it is. One slice cannot be reversed."""
    every = range(3)
    for axes in itertools.permutations(every):
        if tuple(shape_zyx[axis] for axis in axes) != shape_zyx:
            continue
        for steps in itertools.product(*((1, -1) if shape_zyx[axis] > 1 else (1,) for axis in every)):
            if (axes, steps) != _AS_IT_IS:
                yield axes, steps


def _fit_in(
    order: _Order, sample: ImageSample, vessel_zyx: NDArray[np.uint8], labelled_zyx: NDArray[np.bool_]
) -> float:
    axes, steps = order
    places = tuple(slice(None, None, step) for step in steps)
    vessel, labelled = (sample.of(mask.transpose(axes)[places]) for mask in (vessel_zyx, labelled_zyx))
    return _correlation(sample.values, vessel, labelled)


def _moved(
    sample: ImageSample, vessel_zyx: NDArray[np.uint8], labelled_zyx: NDArray[np.bool_]
) -> Iterator[tuple[int, float]]:
    """By how many slices the label is moved, and how well it fits there. Thin stacks are left out."""
    vessel, labelled = sample.of(vessel_zyx), sample.of(labelled_zyx)
    for by in range(1, _MOST_SLICES + 1 if len(vessel) > 3 * _MOST_SLICES else 0):
        yield by, _correlation(sample.values[by:], vessel[:-by], labelled[:-by])
        yield -by, _correlation(sample.values[:-by], vessel[by:], labelled[by:])


def _correlation(image: NDArray[np.float32], vessel: NDArray[np.float32], weight: NDArray[np.float32]) -> float:
    """Pearson's, without its sign, of deviations from the means of the slices (z, y, x), over voxels of weight 1."""
    count = np.maximum(weight.sum(axis=(1, 2), keepdims=True), 1)
    image, vessel = (
        (each - (each * weight).sum(axis=(1, 2), keepdims=True) / count) * weight for each in (image, vessel)
    )
    size = math.sqrt(float(np.vdot(image, image)) * float(np.vdot(vessel, vessel)))
    return abs(float(np.vdot(image, vessel))) / size if size else 0.0


def _words(order: _Order) -> str:
    axes, steps = order
    reversed_ = ", ".join(name for name, step in zip("zyx", steps, strict=True) if step < 0)
    exchanged = "its axes exchanged" if axes != _AS_IT_IS[0] else ""
    return " and ".join(each for each in (exchanged, f"{reversed_} reversed" if reversed_ else "") if each)


def _numbers(other: float, own: float) -> str:
    return f"correlation {other:.2f}, as it is {own:.2f}"
