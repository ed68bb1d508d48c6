"""Exact Euclidean distance transform of small binary patches, in torch on whatever device they are.

Felzenszwalb & Huttenlocher 2012 ("Distance Transforms of Sampled Functions"): the squared distance is a minimum over
one axis after the other, g(x) = min_k f(x + k) + k². Their lower envelope is linear in the side length; here k runs
outwards and stops once k² can no longer lower the largest value left, which for vessels is after about their radius.
On patches of (12, 96, 96) that is several times faster than scipy.ndimage.distance_transform_edt and needs no copy to
the host.
"""

import torch
from torch import Tensor

# squared distances are kept in 16 bits (half the memory traffic of 32): 128² + 127² is the largest sum below 2^15
MAX_DISTANCE_VOXELS = 128


@torch.no_grad()
def distance_to_background(mask: Tensor, at_most_voxels: int = MAX_DISTANCE_VOXELS) -> Tensor:
    """Distance in voxels from each voxel of `mask` to the nearest voxel outside it: (B, 1, z, y, x) bool → float32.

    0 outside the mask. What is beyond the patch is unknown and counts neither as inside nor as outside. Distances
    above `at_most_voxels`, and those in a patch without any background, are `at_most_voxels`: the fewer, the faster.
    """
    assert at_most_voxels <= MAX_DISTANCE_VOXELS, "16 bits would overflow"
    squared = mask.to(torch.int16) * at_most_voxels**2
    # a patch without background has nothing to find, and would keep the others' search going
    full = mask.flatten(1).all(dim=1).view(-1, 1, 1, 1, 1)
    squared.masked_fill_(full, 0)
    for axis in (4, 3, 2):
        squared = _lower_along(axis, squared)
    return squared.masked_fill_(full, at_most_voxels**2).float().sqrt_()


def _lower_along(axis: int, squared: Tensor) -> Tensor:
    """min over k of squared(x + k) + k² along `axis`."""
    lowered = squared.clone()
    length = squared.shape[axis]
    for k in range(1, min(length, MAX_DISTANCE_VOXELS)):
        if k * k >= int(lowered.max()):
            break
        kept = length - k
        raised = squared + k * k
        for here, there in ((0, k), (k, 0)):
            part = lowered.narrow(axis, here, kept)
            torch.minimum(part, raised.narrow(axis, there, kept), out=part)
    return lowered
