"""Where the patches of a sliding window lie along each axis, and how much each counts: as in MONAI's own inferer."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.common.inference import SIGMA_SCALE
from stages.common.networks.monai_parts import compute_importance_map

LEAST_WEIGHT = 1e-3  # MONAI's; a corner's own weight would be lost next to its neighbour's


@dataclass(frozen=True, kw_only=True)
class Axis:
    """Patches of `patch` voxels along an axis of `size`; a start is below 0 where the volume is padded."""

    size: int
    patch: int
    starts: tuple[int, ...]

    def inside(self, start: int) -> slice:
        """What of the patch at `start` is in the volume, as voxels of the volume."""
        return slice(max(start, 0), min(start + self.patch, self.size))

    def margin(self, start: int) -> tuple[int, int]:
        """How many voxels of the patch at `start` lie before and behind the volume."""
        inside = self.inside(start)
        return inside.start - start, start + self.patch - inside.stop

    def within(self, start: int) -> slice:
        """What of the patch at `start` is in the volume, as voxels of the patch."""
        before, behind = self.margin(start)
        return slice(before, self.patch - behind)


def axis_for(size: int, patch: int, overlap: float) -> Axis:
    """Patches over an axis: neighbours share `overlap` of their length, the last one ends with the volume.

    A volume shorter than a patch is padded on both sides alike, with the odd voxel behind.
    """
    if size <= patch:
        return Axis(size=size, patch=patch, starts=(-((patch - size) // 2),))
    step = max(int(patch * (1 - overlap)), 1)
    last = size - patch
    return Axis(size=size, patch=patch, starts=(*range(0, last, step), last))


def weights_of(patch_voxels: Sequence[int]) -> NDArray[np.float32]:
    """How much each voxel of a patch counts (z, y, x): a Gaussian around its middle, never nothing."""
    weights = compute_importance_map(tuple(patch_voxels), mode="gaussian", sigma_scale=SIGMA_SCALE)
    least = max(float(weights.min()), LEAST_WEIGHT)
    found: NDArray[np.float32] = weights.clamp(min=least).numpy().astype(np.float32)
    return found


def plane_of_weights(z: int, axes: tuple[Axis, Axis, Axis], weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """The sum of the weights of all patches that hold each voxel of the slice `z` (yx).

    Row by row and then column by column, because the patches form a lattice.
    """
    along_z, along_y, along_x = axes
    layers = [z - start for start in along_z.starts if start <= z < start + along_z.patch]
    layer = weights[layers].sum(axis=0, dtype=np.float64)
    rows = np.zeros((along_y.patch, along_x.size))
    for start in along_x.starts:
        rows[:, along_x.inside(start)] += layer[:, along_x.within(start)]
    plane = np.zeros((along_y.size, along_x.size))
    for start in along_y.starts:
        plane[along_y.inside(start)] += rows[along_y.within(start)]
    return plane.astype(np.float32)
