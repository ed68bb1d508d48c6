"""Distances between surfaces, from border voxel to border voxel: MASD, HD95 and NSD share them.

A mask's border ∂ is what its erosion with the 6-neighbourhood takes away (beyond the volume's edge is background), as
MetricsReloaded has it (Maier-Hein et al. 2024). Nearest neighbours come from a k-d tree: time and memory grow with the
borders, not with the volume.
"""

import math
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

Points = NDArray[np.int32]  # (n, 3): z, y, x in voxels, in the order of the array
Spacing = tuple[float, float, float]  # z, y, x; in µm, or 1, 1, 1 for distances in voxels
HD_PERCENTILE = 95


@dataclass(frozen=True, kw_only=True)
class SurfaceDistances:
    """For each border voxel of one mask the distance to the nearest of the other; neither is empty."""

    to_reference: NDArray[np.float64]  # one a voxel of ∂P
    to_prediction: NDArray[np.float64]  # one a voxel of ∂R

    def masd(self) -> float:
        """Mean average surface distance (Beneš & Zitová 2015): ½·(mean of d(p, ∂R) + mean of d(r, ∂P))."""
        return float(np.mean(self.to_reference) + np.mean(self.to_prediction)) / 2

    def hd95(self) -> float:
        """The larger of the two directed 95th percentiles (linear interpolation), as MetricsReloaded and MONAI do."""
        return float(max(np.percentile(side, HD_PERCENTILE) for side in (self.to_reference, self.to_prediction)))

    def nsd(self, tolerance: float) -> float:
        """Normalised surface Dice (Nikolov et al. 2021), the share of both borders within `tolerance` of the other."""
        within = sum(int(np.count_nonzero(side <= tolerance)) for side in (self.to_reference, self.to_prediction))
        return within / (len(self.to_reference) + len(self.to_prediction))


def border(mask_zyx: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The border voxels of `mask_zyx`, as a mask."""
    inner = np.zeros_like(mask_zyx)
    core = inner[1:-1, 1:-1, 1:-1]
    core[...] = mask_zyx[1:-1, 1:-1, 1:-1]
    for axis, side in product(range(3), (slice(None, -2), slice(2, None))):
        core &= mask_zyx[tuple(side if each == axis else slice(1, -1) for each in range(3))]
    found: NDArray[np.bool_] = mask_zyx & ~inner
    return found


def distances(
    prediction_border: NDArray[np.bool_], reference_border: NDArray[np.bool_], spacing: Spacing, threads: int
) -> SurfaceDistances:
    """Distances between two borders (masks of one shape, neither empty) in the unit of `spacing`."""
    prediction, reference = points(prediction_border), points(reference_border)
    common = prediction_border & reference_border
    return SurfaceDistances(
        to_reference=_nearest(prediction, ~common[prediction_border], reference, spacing, threads),
        to_prediction=_nearest(reference, ~common[reference_border], prediction, spacing, threads),
    )


def points(border_zyx: NDArray[np.bool_]) -> Points:
    """Coordinates (n, 3) of the voxels of a border."""
    return np.argwhere(border_zyx).astype(np.int32)


def diagonal(shape_zyx: tuple[int, ...], spacing: Spacing) -> float:
    """Length of the diagonal of a volume in the unit of `spacing`: the distance where one of the masks is empty."""
    return math.hypot(*(size * step for size, step in zip(shape_zyx, spacing, strict=True)))


def _nearest(
    start: Points, apart: NDArray[np.bool_], goal: Points, spacing: Spacing, threads: int
) -> NDArray[np.float64]:
    """Distance from each of `start` to the nearest of `goal`; only those `apart` are searched, the others are in it."""
    found = np.zeros(len(start))
    if apart.any():
        # balancing the tree costs more than it saves on points of a grid
        tree = cKDTree(goal * np.asarray(spacing), balanced_tree=False)
        found[apart], _ = tree.query(start[apart] * np.asarray(spacing), workers=threads)
    return found
