"""The loss of a network with several heads: the named loss at full resolution, cross-entropy + Dice below it.

    L = Σᵢ wᵢ·Lᵢ,  wᵢ = 2⁻ⁱ / Σⱼ 2⁻ʲ,  i = 0 at full resolution; one head alone is just its loss
    L₀ = the named loss, Lᵢ = CE + (1 − D) against the label at that head's resolution (dice_ce.py)

Weights after Isensee et al. 2021 (nnU-Net). Losses on skeletons and topology are not defined at coarse resolutions,
where neighbouring vessels merge; there the plain pair guides the features.

A coarse voxel's target is the share of it that is vessel. Taking the nearest voxel instead would drop a vessel of one
voxel's width from every other slice of a halved label; of its share nothing is lost, and the volume stays what it was.
"""

from collections.abc import Callable, Sequence

from torch import Tensor
from torch.nn import functional

from stages.train.losses.base import foreground_logit
from stages.train.losses.dice_ce import cross_entropy, soft_dice


def loss_of_heads(
    loss: Callable[[Tensor, Tensor, Tensor], Tensor], heads: Sequence[Tensor], label: Tensor, skeleton: Tensor
) -> Tensor:
    """Scalar loss of `heads`, each (B, 2, z, y, x): the first at the resolution of `label` and `skeleton`, the others
    at extents that divide theirs.
    """
    value = loss(heads[0], label, skeleton)
    for number, head in enumerate(heads[1:], start=1):
        value = value + _coarse_loss(head, label) / 2**number
    return value / sum(2**-number for number in range(len(heads))) if len(heads) > 1 else value


def _coarse_loss(logits: Tensor, label: Tensor) -> Tensor:
    logit = foreground_logit(logits)
    target = vessel_share(label, logit)
    return cross_entropy(logit, target) + 1 - soft_dice(logit.sigmoid(), target)


def vessel_share(label: Tensor, like: Tensor) -> Tensor:
    """Share of vessel in each coarse voxel: `label` (B, 1, z, y, x) averaged to the extent and type of `like`."""
    fine, coarse = label.shape[2:], like.shape[2:]
    blocks = [size // step for size, step in zip(fine, coarse, strict=True)]
    return functional.avg_pool3d(label.to(like.dtype), blocks)
