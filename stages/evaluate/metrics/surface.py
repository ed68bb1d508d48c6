"""Distance between surfaces: the mean average surface distance, measured from border voxel to border voxel.

MASD = ½·(mean of d(p, ∂R) over p in ∂P + mean of d(r, ∂P) over r in ∂R), where a mask's border ∂ is what its erosion
with the 6-neighbourhood takes away (beyond the volume's edge is background), as MetricsReloaded has it
(Maier-Hein et al. 2024). Nearest neighbours come from a k-d tree: the time grows with the borders, not the volume.
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion
from scipy.spatial import cKDTree

Points = NDArray[np.int64]  # (n, 3): z, y, x in voxels
Spacing = tuple[float, float, float]  # z, y, x; in µm, or 1, 1, 1 for distances in voxels


def border_points(mask_zyx: NDArray[np.bool_]) -> Points:
    """Coordinates (n, 3) of the border voxels of `mask_zyx`."""
    return np.argwhere(mask_zyx & ~binary_erosion(mask_zyx))


def masd(prediction_border: Points, reference_border: Points, spacing: Spacing, threads: int) -> float:
    """MASD between two borders, neither of them empty, in the unit of `spacing`."""
    prediction, reference = prediction_border * np.asarray(spacing), reference_border * np.asarray(spacing)
    there = _mean_distance(prediction, reference, threads)
    back = _mean_distance(reference, prediction, threads)
    return (there + back) / 2


def diagonal(shape_zyx: tuple[int, ...], spacing: Spacing) -> float:
    """Length of the diagonal of a volume in the unit of `spacing`: the MASD where one of the masks is empty."""
    return math.hypot(*(size * step for size, step in zip(shape_zyx, spacing, strict=True)))


def _mean_distance(start: NDArray[np.float64], goal: NDArray[np.float64], threads: int) -> float:
    # balancing the tree costs more than it saves on points of a grid
    tree = cKDTree(goal, balanced_tree=False)
    distances, _ = tree.query(start, workers=threads)
    return float(np.mean(distances))
