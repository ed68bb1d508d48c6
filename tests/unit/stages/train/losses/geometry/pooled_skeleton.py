"""The soft skeleton of Shit et al. 2021, algorithm 1, written with pooling and autograd: slow, and plain to read."""

import torch
from torch import Tensor
from torch.nn import functional


def pooled_skeleton(image: Tensor, rounds: int) -> Tensor:
    """The soft skeleton of `image` (B, 1, z, y, x) after `rounds` erosions."""
    skeleton = functional.relu(image - functional.max_pool3d(_eroded(image), 3, 1, 1))
    for _ in range(rounds):
        image = _eroded(image)
        residue = functional.relu(image - functional.max_pool3d(_eroded(image), 3, 1, 1))
        skeleton = skeleton + functional.relu(residue - skeleton * residue)
    return skeleton


def _eroded(volume: Tensor) -> Tensor:
    kernels = ((3, 1, 1), (1, 3, 1), (1, 1, 3))
    pooled = [-functional.max_pool3d(-volume, kernel, 1, [side // 2 for side in kernel]) for kernel in kernels]
    return torch.stack(pooled).amin(dim=0)
