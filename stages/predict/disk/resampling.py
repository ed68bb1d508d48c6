"""A volume on the disk brought onto another grid, as preprocess does it in memory: one axis does not mix with another,
so slices are resampled one by one, and then along z.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stages.common.imaging.grid import resample
from stages.common.imaging.zyx import Shape
from stages.predict.disk.volume import DiskVolume


def resample_slices(source: DiskVolume, shape_zyx: Shape, scratch_file: Path) -> Iterator[NDArray[np.float32]]:
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
