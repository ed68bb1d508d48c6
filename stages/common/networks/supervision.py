"""Deep supervision: while it is trained, a network gives logits at the coarser levels of its decoder too.

Lee et al. 2015 ("Deeply-supervised nets"); one head a decoder level as in Isensee et al. 2021 (nnU-Net). The heads lie
next to the network and not in it, each a 1×1×1 convolution at its level's own resolution: they cost next to nothing,
and what is registered is the plain network. Their losses: stages/train/losses/heads.py.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from stages.common.networks.architecture import Decoded


class DeeplySupervised(nn.Module):
    """`network` with a head for each decoder level below full resolution, `widths` channels wide, finest first.

    In training mode images (B, 1, z, y, x) give a tuple of logits, the full resolution's (B, 2, z, y, x) first; in eval
    mode exactly what the network gives.
    """

    def __init__(
        self, network: nn.Module, decode: Callable[[nn.Module, Tensor], Decoded], widths: Sequence[int]
    ) -> None:
        super().__init__()
        self.network = network
        self.heads = nn.ModuleList([nn.Conv3d(width, 2, kernel_size=1) for width in widths])
        self._decode = decode

    def forward(self, image: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Logits of all heads, or in eval mode the network's."""
        if not self.training:
            logits: Tensor = self.network(image)
            return logits
        decoded = self._decode(self.network, image)
        heads = [head(features) for head, features in zip(self.heads, decoded.coarser, strict=True)]
        return (decoded.logits, *heads)


def plain(network: nn.Module) -> nn.Module:
    """The network without its heads: what is counted, registered and predicts."""
    return network.network if isinstance(network, DeeplySupervised) else network


def number_of_heads(network: nn.Module) -> int:
    """1 without deep supervision."""
    return 1 + len(network.heads) if isinstance(network, DeeplySupervised) else 1


def heads_of(output: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """What a network in training mode gave as a tuple of at least float32, full resolution first."""
    heads = (output,) if isinstance(output, Tensor) else output
    return tuple(head if head.dtype == torch.float64 else head.float() for head in heads)
