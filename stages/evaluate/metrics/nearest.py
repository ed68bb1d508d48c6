"""How far it is from each voxel of one set to the nearest of another: exact, in two ways that suit few and many."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from scipy.spatial import cKDTree

Mask = NDArray[np.bool_]
Points = NDArray[np.int32]  # (n, 3): z, y, x in voxels, in the order of the array
Distances = NDArray[np.float64]
Spacing = tuple[float, float, float]  # z, y, x; in µm, or 1, 1, 1 for distances in voxels
# a search costs up to 6 µs a voxel that is searched for, distance maps about 0.1 µs a voxel of the volume
FEW_VOXELS, FEW_OF_THE_VOLUME = 100_000, 1 / 50


def nearest(start_zyx: Mask, goal_zyx: Mask, spacing: Spacing, threads: int) -> Distances:
    """From each voxel of `start_zyx`, in its order, to the nearest of `goal_zyx`, in the unit of `spacing`.

    Masks of one shape; the goal is not empty.
    """
    start = points(start_zyx)
    apart = ~goal_zyx[start_zyx]  # where both have a voxel, the distance is 0
    found = np.zeros(len(start))
    if np.count_nonzero(apart) <= max(FEW_VOXELS, FEW_OF_THE_VOLUME * start_zyx.size):
        found[apart] = by_search(start[apart], points(goal_zyx), spacing, threads)
    else:
        found[apart] = by_slices(start[apart], goal_zyx, spacing)
    return found


def points(mask_zyx: Mask) -> Points:
    """Coordinates (n, 3) of the voxels of a mask."""
    return np.argwhere(mask_zyx).astype(np.int32)


def by_search(start: Points, goal: Points, spacing: Spacing, threads: int) -> Distances:
    """In a k-d tree: time and memory grow with the points, not with the volume."""
    # balancing the tree costs more than it saves on points of a grid
    tree = cKDTree(goal * np.asarray(spacing), balanced_tree=False)
    distances, _ = tree.query(start * np.asarray(spacing), workers=threads)
    return np.asarray(distances)


def by_slices(start: Points, goal_zyx: Mask, spacing: Spacing) -> Distances:
    """By a distance map of each slice of the goal, one at a time: d² = min over z' of in-plane d²(z') + (z − z')².

    That the square of a distance is a sum over axes (Felzenszwalb & Huttenlocher 2012) keeps the memory at one slice.
    """
    squared = np.full(len(start), np.inf)
    places = start[:, 1] * goal_zyx.shape[2] + start[:, 2]
    for z, slice_yx in enumerate(goal_zyx):
        if slice_yx.any():
            in_plane: Distances = distance_transform_edt(~slice_yx, sampling=spacing[1:])
            here = np.square(in_plane).ravel()[places]
            here += np.square((start[:, 0] - z) * spacing[0])
            np.minimum(squared, here, out=squared)
    distances: Distances = np.sqrt(squared)
    return distances
