"""How the intensities of a stack are distributed, as a network sees them: on the scale that normalisation made.

Percentile normalisation hides brightness and gain, as it should. What remains is the form of the distribution: noise
without vessels has its median in the middle, dark vessels on a bright ground have it near the top, and a saturated
stack has many voxels at its largest value.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.common.imaging.intensities.normalise import imaged_part

MAX_SLICES = 32  # evenly spaced; neighbours tell the same
_MAX_PLANE_VOXELS = 1 << 16  # of a slice, evenly spaced, too


@dataclass(frozen=True, kw_only=True)
class Intensities:
    """Quartiles of the normalised intensities, and the share (0 to 1) of voxels at the highest value.

    Not the share at the lowest: a background clipped by the detector is half of one good stack and nothing of another.
    """

    quartile_1: float
    median: float
    quartile_3: float
    share_highest: float

    def values(self) -> dict[str, float]:
        """By name."""
        return asdict(self)


def measure_intensities(
    read_slice: Callable[[int], NDArray[Any]], depth: int, normalise: Callable[[NDArray[Any]], NDArray[np.float32]]
) -> Intensities | None:
    """Of a sample of slices (yx) without their constant frames, normalised; None if nothing was imaged."""
    wanted = np.unique(np.linspace(0, depth - 1, min(depth, MAX_SLICES)).round().astype(int))
    parts = [_thinned(normalise(part[None])[0]) for part in imaged_part(read_slice(int(z)) for z in wanted)]
    return _summary(np.concatenate(parts)) if parts else None


def _thinned(part: NDArray[np.float32]) -> NDArray[np.float32]:
    step = max(1, int(np.ceil(np.sqrt(part.size / _MAX_PLANE_VOXELS))))
    return part[::step, ::step].ravel()


def _summary(values: NDArray[np.float32]) -> Intensities:
    first, median, third = np.percentile(values, [25, 50, 75])
    return Intensities(
        quartile_1=float(first),
        median=float(median),
        quartile_3=float(third),
        share_highest=float(np.mean(values == values.max())),
    )


def of_array(image_zyx: NDArray[np.float32]) -> Intensities | None:
    """Of an image that is normalised already, in memory or memory-mapped."""
    return measure_intensities(lambda z: image_zyx[z], len(image_zyx), lambda part: part)
