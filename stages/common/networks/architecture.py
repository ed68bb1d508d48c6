"""What an architecture is to the rest of the training: a builder, and perhaps a way to look into its decoder."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from stages.common.networks.plan import NetworkPlan


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """A forward pass: `logits` (B, 2, z, y, x) and the decoder's feature maps at the plan's levels 1, 2, … .

    `coarser[i]` is (B, plan.filters[i + 1], z, y, x) at the extent of level i + 1; the bottleneck is not among them.
    """

    logits: torch.Tensor
    coarser: tuple[torch.Tensor, ...]


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """`build` gives (B, 1, z, y, x) → (B, 2, z, y, x) from torch's and MONAI's classes only, and from the plan
    alone: a registered model is a plan and tensors. No patch of a batch may see another, so nothing normalises over
    the batch.

    `decode` computes what the network does and shows its decoder; where it is None there is no deep supervision.
    """

    build: Callable[[NetworkPlan], torch.nn.Module]
    decode: Callable[[torch.nn.Module, torch.Tensor], Decoded] | None = None
