"""Distances between surfaces, from border voxel to border voxel: MASD, HD95 and NSD share them.

A mask's border ∂ is what its erosion with the 6-neighbourhood takes away (beyond the volume's edge is background), as
MetricsReloaded has it (Maier-Hein et al. 2024).
"""

import math
from dataclasses import dataclass
from itertools import product

import numpy as np

from stages.common.imaging.zyx import Spacing
from stages.evaluate.metrics.nearest import ROUNDING, Distances, Mask, nearest

HD_PERCENTILE = 95


@dataclass(frozen=True, kw_only=True)
class SurfaceDistances:
    """For each border voxel of one mask the distance to the nearest of the other; neither is empty."""

    to_reference: Distances  # one per voxel of ∂P
    to_prediction: Distances  # one per voxel of ∂R

    def masd(self) -> float:
        """Mean average surface distance (Beneš & Zitová 2015): ½·(mean of d(p, ∂R) + mean of d(r, ∂P))."""
        return float(np.mean(self.to_reference) + np.mean(self.to_prediction)) / 2

    def hd95(self) -> float:
        """The larger of the two directed 95th percentiles (linear interpolation), as MetricsReloaded and MONAI do."""
        return float(max(np.percentile(side, HD_PERCENTILE) for side in (self.to_reference, self.to_prediction)))

    def nsd(self, tolerance: float) -> float:
        """Normalised surface Dice (Nikolov et al. 2021), the share of both borders within `tolerance` of the other."""
        limit = tolerance * (1 + ROUNDING)
        within = sum(int(np.count_nonzero(side <= limit)) for side in (self.to_reference, self.to_prediction))
        return within / (len(self.to_reference) + len(self.to_prediction))


def border(mask_zyx: Mask) -> Mask:
    """The border voxels of `mask_zyx`, as a mask."""
    inner = np.zeros_like(mask_zyx)
    core = inner[1:-1, 1:-1, 1:-1]
    core[...] = mask_zyx[1:-1, 1:-1, 1:-1]
    for axis, side in product(range(3), (slice(None, -2), slice(2, None))):
        core &= mask_zyx[tuple(side if each == axis else slice(1, -1) for each in range(3))]
    found: Mask = mask_zyx & ~inner
    return found


def distances(prediction_border: Mask, reference_border: Mask, spacing: Spacing, threads: int) -> SurfaceDistances:
    """Distances between two borders (masks of one shape, neither empty) in the unit of `spacing`."""
    return SurfaceDistances(
        to_reference=nearest(prediction_border, reference_border, spacing, threads),
        to_prediction=nearest(reference_border, prediction_border, spacing, threads),
    )


def diagonal(shape_zyx: tuple[int, ...], spacing: Spacing) -> float:
    """Length of the diagonal of a volume in the unit of `spacing`: the distance where one of the masks is empty."""
    return math.hypot(*(size * step for size, step in zip(shape_zyx, spacing, strict=True)))
