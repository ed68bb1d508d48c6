"""The grid that a network knows, and a volume on the disk brought onto another one, as preprocess does it in memory.

One axis does not mix with another, so slices are resampled one by one, and then along z.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.common.errors import DataError
from stages.common.imaging.grid import grid_for, resample
from stages.common.imaging.recipe import Recipe
from stages.common.imaging.zyx import Shape, Spacing
from stages.common.tiling.volume import DiskVolume


def target_grid(shape_zyx: Shape, spacing_um: Spacing, recipe: Recipe) -> Shape:
    """The grid that the networks know. Raises DataError when the stack would have no voxel on it."""
    shape, _ = grid_for(shape_zyx, spacing_um, recipe.resample_to_um)
    if min(shape) < 1:
        raise DataError(
            f"resampled to {recipe.resample_to_um} µm, as in training, this stack has no voxel on an axis",
            remedy="check the spacing",
            value=f"{_by(shape_zyx)} voxels of {_by(spacing_um)} µm",
        )
    return shape


def resample_slices(
    source: DiskVolume | NDArray[Any], shape_zyx: Shape, scratch_file: Path
) -> Iterator[NDArray[np.float32]]:
    """The slices (yx) of `source` on `shape_zyx` voxels over the same extent; `scratch_file` is made and removed."""
    depth = source.shape[0]
    with DiskVolume(scratch_file, (depth, *shape_zyx[1:]), np.float32) as in_plane:
        in_plane.append(resample(plane, shape_zyx[1:]) for plane in source)
        if depth == shape_zyx[0]:
            yield from in_plane
            return
        # what a single bright slice becomes is how much that slice counts in each of the new ones
        shares = resample(np.eye(depth, dtype=np.float32), (shape_zyx[0], depth))
        rows = slice(0, shape_zyx[1])
        for share in shares:
            total = np.zeros(shape_zyx[1:], dtype=np.float32)
            for z in np.flatnonzero(share):
                total += share[z] * in_plane.read(slice(int(z), int(z) + 1), rows)[0]
            yield total


def _by(values: Shape | Spacing) -> str:
    return " × ".join(f"{value:g}" for value in values)
