"""A common spacing, when asked for. Image and label go through the same linear interpolation, so their edges agree."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.transform import resize

from stages.common.errors import ParamsError
from stages.preprocess.raw import RawVolume

# 2 GB an image in float32: beyond it a volume neither fits a worker beside its copies nor trains in sensible time
MAX_VOXELS = 2**29
BYTES_A_VOXEL = 4 + 1 + 1  # image, label, skeleton

Shape = tuple[int, int, int]
Spacing = tuple[float, float, float]


def target_grid(volume: RawVolume, resample_to_um: Spacing | None) -> tuple[Shape, Spacing]:
    """Shape and spacing (µm) of `volume` after resampling: the nearest whole number of voxels over the same extent.

    The spacing is extent / voxels, what the arrays truly have, not the one asked for. Raises ParamsError when an axis
    would be left without a voxel, or when the volume would grow beyond MAX_VOXELS.
    """
    if resample_to_um is None:
        return volume.shape_zyx, volume.spacing_um
    extent_um = [size * spacing for size, spacing in zip(volume.shape_zyx, volume.spacing_um, strict=True)]
    z, y, x = (round(size / spacing) for size, spacing in zip(extent_um, resample_to_um, strict=True))
    _check_size(volume, (z, y, x), resample_to_um)
    return (z, y, x), (extent_um[0] / z, extent_um[1] / y, extent_um[2] / x)


def resample_image(image_zyx: NDArray[np.generic], shape: Shape) -> NDArray[np.float32]:
    """`image_zyx` on `shape` voxels over the same extent, linear (no overshoot at bright vessels, as splines have).

    Axes that get coarser are blurred first with σ = (factor - 1) / 2 voxels against aliasing.
    """
    scale: Any = resize  # scikit-image's types leave it out
    resampled: NDArray[np.float32] = scale(
        image_zyx.astype(np.float32), shape, order=1, mode="edge", anti_aliasing=True, preserve_range=True
    )
    return resampled


def resample_label(label_zyx: NDArray[np.uint8], shape: Shape) -> NDArray[np.uint8]:
    """The label on `shape` voxels: foreground where its linear interpolation is at least one half."""
    return (resample_image(label_zyx, shape) >= 0.5).astype(np.uint8)


def _check_size(volume: RawVolume, shape: Shape, target_um: Spacing) -> None:
    asked = [float(spacing) for spacing in target_um]
    if min(shape) < 1:
        raise ParamsError(
            f"volume {volume.id}: resampling to {asked} µm leaves no voxel on an axis",
            remedy="give preprocess.resample_to_um in µm as [z, y, x], finer than the stack's extent",
            value=f"{_text(volume.shape_zyx)} voxels of {list(volume.spacing_um)} µm",
        )
    voxels = math.prod(shape)
    if voxels > max(MAX_VOXELS, volume.voxels):
        raise ParamsError(
            f"volume {volume.id}: resampling to {asked} µm would make {voxels:,} voxels, "
            f"{voxels * BYTES_A_VOXEL / 1e9:.1f} GB ({voxels / volume.voxels:,.0f} times the native stack)",
            remedy=f"choose a coarser preprocess.resample_to_um (at most {MAX_VOXELS:,} voxels a volume), or null",
            value=f"{_text(volume.shape_zyx)} becomes {_text(shape)}",
        )


def _text(shape: Shape) -> str:
    return " × ".join(map(str, shape))
