"""A stack on another grid: how many voxels a spacing asks for, and values in between by linear interpolation."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, zoom

from stages.common.imaging.zyx import Shape, Spacing


def grid_for(shape_zyx: Shape, spacing_um: Spacing, resample_to_um: Spacing | None) -> tuple[Shape, Spacing]:
    """Shape and spacing (µm) after resampling: the nearest whole number of voxels over the same extent.

    The spacing is extent / voxels, what the arrays truly have, not the one asked for. An axis may be left with 0
    voxels (and an infinite spacing): the caller refuses that.
    """
    if resample_to_um is None:
        return shape_zyx, spacing_um
    extent_um = [size * spacing for size, spacing in zip(shape_zyx, spacing_um, strict=True)]
    z, y, x = (round(size / spacing) for size, spacing in zip(extent_um, resample_to_um, strict=True))
    around = [size / count if count else np.inf for size, count in zip(extent_um, (z, y, x), strict=True)]
    return (z, y, x), (around[0], around[1], around[2])


def resample(image: NDArray[np.generic], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """`image` on `shape` voxels over the same extent, linear (no overshoot at bright vessels, as splines have).

    Axes that get coarser are blurred first with σ = (factor - 1) / 2 voxels against aliasing.
    """
    source = image.astype(np.float32)
    factors = np.divide(source.shape, shape)
    blurred = gaussian_filter(source, np.maximum(0, (factors - 1) / 2), mode="nearest")
    resampled: NDArray[np.float32] = zoom(blurred, 1 / factors, order=1, mode="nearest", grid_mode=True)
    return np.clip(resampled, source.min(), source.max(), out=resampled)  # rounding may leave the stack's own range
