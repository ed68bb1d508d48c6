"""A gradient without autograd, for comparison."""

from collections.abc import Callable

import torch
from torch import Tensor

STEP = 1e-5


def finite_differences(function: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    """Every partial derivative of `function`, which returns one number, at a point in float64: central differences."""
    gradient, moved = torch.empty_like(at), at.clone()
    with torch.no_grad():
        for place in range(at.numel()):
            around = []
            for step in (STEP, -STEP):
                moved.view(-1)[place] = at.view(-1)[place] + step
                around.append(function(moved))
            moved.view(-1)[place] = at.view(-1)[place]
            gradient.view(-1)[place] = (around[0] - around[1]) / (2 * STEP)
    return gradient
