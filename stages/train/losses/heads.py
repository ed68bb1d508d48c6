"""The loss of a network with several heads: the named loss at full resolution, cross-entropy + Dice below it.

    L = Σᵢ wᵢ·Lᵢ,  wᵢ = 2⁻ⁱ / Σⱼ 2⁻ʲ,  i = 0 at full resolution; one head alone is just its loss
    L₀ = the named loss, Lᵢ = CE + (1 − D) against the label at that head's resolution (dice_ce.py)

Weights after Isensee et al. 2021 (nnU-Net). Losses on skeletons and topology are not defined at coarse resolutions,
where neighbouring vessels merge; there the plain pair guides the features.

A coarse voxel's target is the share of it that is vessel. Taking the nearest voxel instead would drop a vessel of one
voxel's width from every other slice of a halved label; of its share nothing is lost, and the volume stays what it was.
Where only a part of a coarse voxel is labelled, the share is of that part, and the voxel weighs by its size.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from stages.train.losses.base import foreground_logit, where_partial
from stages.train.losses.dice_ce import cross_entropy, dice_of_sums, soft_dice


def loss_of_heads(
    loss: Callable[..., Tensor],
    heads: Sequence[Tensor],
    label: Tensor,
    skeleton: Tensor,
    labelled: Tensor | None = None,
) -> Tensor:
    """Scalar loss of `heads`, each (B, 2, z, y, x): the first at the resolution of `label`, `skeleton` and `labelled`
    (losses/base.py says what they are), the others at extents that divide theirs.
    """
    labelled = where_partial(labelled)
    value = loss(heads[0], label, skeleton) if labelled is None else loss(heads[0], label, skeleton, labelled)
    for number, head in enumerate(heads[1:], start=1):
        coarse = _coarse_loss(head, label) if labelled is None else _partial_coarse_loss(head, label, labelled)
        value = value + coarse / 2**number
    return value / sum(2**-number for number in range(len(heads))) if len(heads) > 1 else value


def _coarse_loss(logits: Tensor, label: Tensor) -> Tensor:
    logit = foreground_logit(logits)
    target = vessel_share(label, logit)
    return cross_entropy(logit, target) + 1 - soft_dice(logit.sigmoid(), target)


def _partial_coarse_loss(logits: Tensor, label: Tensor, labelled: Tensor) -> Tensor:
    """A coarse voxel counts by the share of it that is labelled, and its target is the vessel's share of that."""
    logit = foreground_logit(logits)
    weight = vessel_share(labelled, logit)
    target = vessel_share(label * labelled.bool(), logit) / weight.clamp(min=torch.finfo(weight.dtype).tiny)
    logit = torch.where(weight > 0, logit, 0)
    overlap, total = (logit.sigmoid() * target * weight).sum(), ((logit.sigmoid() + target) * weight).sum()
    return cross_entropy(logit, target, weight) + 1 - dice_of_sums(overlap, total)


def vessel_share(label: Tensor, like: Tensor) -> Tensor:
    """Share of vessel in each coarse voxel: `label` (B, 1, z, y, x) averaged to the extent and type of `like`."""
    fine, coarse = label.shape[2:], like.shape[2:]
    blocks = [size // step for size, step in zip(fine, coarse, strict=True)]
    return functional.avg_pool3d(label.to(like.dtype), blocks)
