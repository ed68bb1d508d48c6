"""Cross-entropy plus soft Dice, the standard pair.

    L = CE + (1 − D)
    CE = mean over voxels and batch of −log softmax(logits)[label]
    D = (2 Σ p·y + ε) / (Σ p + Σ y + ε),  p = softmax(logits)[vessel], Σ over all voxels of the batch, ε = 1e-5

Dice: Milletari et al. 2016 (V-Net) with unsquared denominator as in Drozdzal et al. 2016; the sum of both, over the
batch, as in Isensee et al. 2021 (nnU-Net).

Batch Dice (one sum over the batch, not a mean of a Dice per patch), because vessels are sparse: a patch that holds ten
vessel voxels, or none, would weigh as much as one that holds ten thousand. The background has no Dice term: with 1–5 %
vessels it is close to 1 whatever the network does, and cross-entropy already covers it.

Edge cases: empty label and p → 0 gives D → 1 (ε/ε), so a right empty prediction costs nothing; empty label and p > 0
gives D ≈ 0 with next to no gradient, and cross-entropy alone pulls p down. The gradient of 1 − D for the logits is
bounded by 1/2 a voxel for every input.

Where some voxels are not labelled, mean and sums run over the labelled ones. No labelled voxel: CE is 0.
"""

import torch
from torch import Tensor
from torch.nn import functional

from stages.train.losses.base import Loss, vessel_probability

# a numerical guard, far under one voxel: it decides only the empty case
DICE_SMOOTHING_VOXELS = 1e-5


class DiceCELoss(Loss):
    """Cross-entropy + batch soft Dice on the vessels (formula in the module's docstring)."""

    def evaluate(
        self,
        logit: Tensor,
        label: Tensor,
        skeleton: Tensor,  # noqa: ARG002 - a loss on voxels alone
        labelled: Tensor | None = None,
    ) -> Tensor:
        """Scalar loss for `logit` and `label`, both (B, 1, z, y, x)."""
        target = label.to(logit.dtype)
        return cross_entropy(logit, target, labelled) + 1 - soft_dice(vessel_probability(logit, labelled), target)


def cross_entropy(logit: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean two-class cross-entropy of the log odds `logit` against `target` of {0, 1}, same shape and dtype.

    With a `weight` of [0, 1] (or bool) a voxel: the weighted mean, 0 where all weights are.
    """
    if weight is None:
        return functional.binary_cross_entropy_with_logits(logit, target)
    each = functional.binary_cross_entropy_with_logits(logit, target, reduction="none") * weight
    return each.sum() / weight.to(logit.dtype).sum().clamp(min=torch.finfo(logit.dtype).tiny)


def soft_dice(probability: Tensor, target: Tensor) -> Tensor:
    """Batch soft Dice coefficient D in [0, 1] of `probability` and `target`, same shape and dtype."""
    return dice_of_sums((probability * target).sum(), probability.sum() + target.sum())


def dice_of_sums(overlap: Tensor, total: Tensor) -> Tensor:
    """The Dice coefficient of two masks from their overlap and the sum of their sizes."""
    return (2 * overlap + DICE_SMOOTHING_VOXELS) / (total + DICE_SMOOTHING_VOXELS)
