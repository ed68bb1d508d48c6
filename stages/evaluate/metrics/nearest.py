"""How far it is from each voxel of one set to the nearest of another: exact, in two ways that suit few and many."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from scipy.spatial import cKDTree

from stages.common.imaging.zyx import Spacing

Mask = NDArray[np.bool_]
Points = NDArray[np.int32]  # (n, 3): z, y, x in voxels, in the order of the array
Distances = NDArray[np.float64]
ROUNDING = 1e-9  # relative: whether 1.4 µm is within 1.4 µm must not hang on where in the volume it is measured
# a search of near voxels costs about 1 µs each, of far ones up to 200; distance maps 0.03 µs a voxel of the volume
FEW_VOXELS, FEW_OF_THE_VOLUME = 100_000, 1 / 50
FAR_STEPS, SAMPLE = 8, 1000


def nearest(start_zyx: Mask, goal_zyx: Mask, spacing: Spacing, threads: int) -> Distances:
    """From each voxel of `start_zyx`, in its order, to the nearest of `goal_zyx`, in the unit of `spacing`.

    Masks of one shape; the goal is not empty.
    """
    apart = start_zyx & ~goal_zyx  # where both have a voxel, the distance is 0
    found = np.zeros(np.count_nonzero(start_zyx))
    if apart.any():
        found[apart[start_zyx]] = _nearest_apart(points(apart), goal_zyx, spacing, threads)
    return found


def _nearest_apart(start: Points, goal_zyx: Mask, spacing: Spacing, threads: int) -> Distances:
    """By a search where there are few voxels that lie near, as between vessels and their label; else by slices."""
    most = max(len(start), int(np.count_nonzero(goal_zyx)))
    if most > max(FEW_VOXELS, FEW_OF_THE_VOLUME * goal_zyx.size):
        return by_slices(start, goal_zyx, spacing)
    tree = search_tree(goal_zyx, spacing)
    if len(start) > SAMPLE:
        some = by_search(start[:: len(start) // SAMPLE], tree, spacing, threads=1)
        if np.median(some) > FAR_STEPS * min(spacing):
            return by_slices(start, goal_zyx, spacing)
    return by_search(start, tree, spacing, threads)


def points(mask_zyx: Mask) -> Points:
    """Coordinates (n, 3) of the voxels of a mask."""
    return np.argwhere(mask_zyx).astype(np.int32)


def search_tree(goal_zyx: Mask, spacing: Spacing) -> cKDTree:
    """The voxels of `goal_zyx` as a k-d tree: time and memory grow with them, not with the volume."""
    # balancing the tree costs more than it saves on points of a grid
    return cKDTree(points(goal_zyx) * np.asarray(spacing), balanced_tree=False)


def by_search(start: Points, goal: cKDTree, spacing: Spacing, threads: int) -> Distances:
    """From each of `start` to the nearest in a `search_tree`."""
    distances, _ = goal.query(start * np.asarray(spacing), workers=threads)
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
