"""A common spacing, when asked for. Image and label go through the same linear interpolation, so their edges agree."""

import math

import numpy as np
from numpy.typing import NDArray

from stages.common.errors import ParamsError
from stages.common.imaging.grid import grid_for, resample
from stages.common.imaging.masks.components import Components
from stages.common.imaging.zyx import Shape, Spacing
from stages.preprocess.raw import RawVolume

# 2 GB an image in float32: beyond it a volume neither fits a worker next to its copies nor trains in sensible time
MAX_VOXELS = 2**29
BYTES_A_VOXEL = 4 + 1 + 1  # image, label, skeleton


def target_grid(volume: RawVolume, resample_to_um: Spacing | None) -> tuple[Shape, Spacing]:
    """Shape and spacing (µm) of `volume` after resampling (stages/common/imaging/grid.py).

    Raises ParamsError when an axis would be left without a voxel, or when the volume would grow beyond MAX_VOXELS.
    """
    shape, spacing_um = grid_for(volume.shape_zyx, volume.spacing_um, resample_to_um)
    if resample_to_um is not None:
        _check_size(volume, shape, resample_to_um)
    return shape, spacing_um


def resample_label(label_zyx: NDArray[np.uint8], shape: Shape) -> NDArray[np.uint8]:
    """The label on `shape` voxels: foreground where its linear interpolation is at least one half."""
    return (resample(label_zyx, shape) >= 0.5).astype(np.uint8)


def resample_labelled(labelled_zyx: NDArray[np.bool_], shape: Shape) -> NDArray[np.bool_]:
    """`labelled_zyx` on `shape` voxels: labelled where no ignored voxel takes part.

    An ignored voxel takes part where it weighs in the interpolation, and where its centre is in the resampled voxel.
    """
    labelled: NDArray[np.bool_] = resample(~labelled_zyx, shape) == 0
    z, y, x = _places(labelled_zyx.shape, shape)
    for there, plane in zip(z, labelled_zyx, strict=True):
        rows, columns = np.nonzero(~plane)
        labelled[there, y[rows], x[columns]] = False
    return labelled


def _places(native: tuple[int, ...], resampled: tuple[int, ...]) -> list[NDArray[np.int64]]:
    """For each axis, in which resampled voxel the centre of each native one is."""
    return [(2 * np.arange(size) + 1) * there // (2 * size) for size, there in zip(native, resampled, strict=True)]


def lost_parts(native_zyx: NDArray[np.uint8], resampled_zyx: NDArray[np.uint8]) -> tuple[int, int]:
    """How many connected parts (26 neighbours) the native label has, and of how many nothing is left.

    Of a part something is left where a native voxel of it has its centre in a resampled voxel that is foreground.
    """
    z, y, x = _places(native_zyx.shape, resampled_zyx.shape)
    parts = Components(native_zyx)
    found = parts.common_with(resampled_zyx[plane][np.ix_(y, x)] for plane in z)
    return len(found), int(np.count_nonzero(found == 0))


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
            remedy=f"choose a coarser preprocess.resample_to_um (at most {MAX_VOXELS:,} voxels per volume), or null",
            value=f"{_text(volume.shape_zyx)} becomes {_text(shape)}",
        )


def _text(shape: Shape) -> str:
    return " × ".join(map(str, shape))
