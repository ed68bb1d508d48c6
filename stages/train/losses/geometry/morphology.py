"""Binary morphology on patches (B, 1, z, y, x), in torch on whatever device they are.

What is beyond the patch is unknown: it neither erodes nor grows anything, so that a vessel cut by a face of the patch
keeps its centreline up to that face. Voxels that nobody labelled may be named as unknown, too.
"""

import torch
from torch import Tensor

SPATIAL_AXES = (2, 3, 4)


@torch.no_grad()
def morphological_skeleton(mask: Tensor, unknown: Tensor | None = None) -> Tensor:
    """Skeleton of `mask` (bool, nothing of it in `unknown`) by Lantuéjoul's formula: ∪ₖ Eᵏ(M) ∖ D(Eᵏ⁺¹(M)).

    E erodes with the 6-neighbourhood, D dilates with the 26-neighbourhood: what the soft skeleton of Shit et al. 2021
    (clDice, algorithm 1) computes on a binary image, run until nothing changes instead of a fixed number of times. It
    is within the mask and reaches every branch, but may be broken or two voxels wide. A patch that is all foreground
    has none.
    """
    skeleton = torch.zeros_like(mask)
    current = mask
    while True:
        eroded = erode(current) if unknown is None else erode(current | unknown) & ~unknown
        skeleton |= current & ~dilate(eroded)
        if torch.equal(eroded, current):
            return skeleton
        current = eroded


def erode(mask: Tensor) -> Tensor:
    """`mask` (bool) without the voxels that have one of their 6 neighbours outside it."""
    eroded = mask.clone()
    for axis in SPATIAL_AXES:
        for here, there in neighbours(eroded, mask, axis):
            here &= there
    return eroded


def grow(mask: Tensor) -> Tensor:
    """`mask` (bool) with the 6 neighbours of its voxels."""
    grown = mask.clone()
    for axis in SPATIAL_AXES:
        for here, there in neighbours(grown, mask, axis):
            here |= there
    return grown


def dilate(mask: Tensor) -> Tensor:
    """`mask` (bool) with the 26 neighbours of its voxels."""
    for axis in SPATIAL_AXES:
        grown = mask.clone()
        for here, there in neighbours(grown, mask, axis):
            here |= there
        mask = grown
    return mask


def neighbours(target: Tensor, source: Tensor, axis: int) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Pairs of views to combine: of `target`, and of `source` one voxel before and one voxel after it along `axis`."""
    kept = source.shape[axis] - 1
    before = (target.narrow(axis, 1, kept), source.narrow(axis, 0, kept))
    after = (target.narrow(axis, 0, kept), source.narrow(axis, 1, kept))
    return before, after
