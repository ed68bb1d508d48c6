"""Skeleton recall: how much of the true centreline the prediction covers, at next to no cost.

Source: Kirchhoff et al. 2024, "Skeleton Recall Loss for Connectivity Conserving and Resource Efficient Segmentation of
Thin Tubular Structures" (ECCV).

    L      = CE + (1 − Dice) + w·(1 − Recall),  w = 1                                      CE, Dice: dice_ce.py
    Recall = (Σ p·T + ε) / (Σ T + ε)
    T      = D²(S) ∧ y

S is the centreline of the label y, D dilates with the 6-neighbourhood, so T is a tube of radius 2 voxels about the
centreline, cut to the label. p is the probability of vessel; Σ runs over the whole batch; ε = 1, one voxel, as the
authors' code has it; weights as the paper's.

Nothing is skeletonised while training: S comes from preprocess, of the whole volume, and only its patch is dilated.
That costs less than reading a stored T would, at the price that a centreline just outside the patch adds no tube
inside it: it may lack up to 2 voxels along the patch's faces.

Edge cases: no centreline in the patch: Recall = 1 without a gradient, cross-entropy and Dice are what remains. Recall
never punishes a false vessel: the region terms do. A skeleton voxel outside the label adds nothing outside the label.
"""

from typing import ClassVar

from torch import Tensor

from stages.train.losses.base import Loss, vessel_probability
from stages.train.losses.dice_ce import cross_entropy, soft_dice
from stages.train.losses.geometry.morphology import grow

RECALL_WEIGHT = 1.0
RECALL_SMOOTHING_VOXELS = 1.0
TUBE_RADIUS_VOXELS = 2


class SkeletonRecallLoss(Loss):
    """Cross-entropy + batch soft Dice + recall on the tubed centreline (formulas in the module's docstring)."""

    needs_skeleton: ClassVar[bool] = True

    def evaluate(self, logit: Tensor, label: Tensor, skeleton: Tensor, labelled: Tensor | None = None) -> Tensor:
        """Scalar loss for `logit` and `label`, with the label's centreline `skeleton`, all (B, 1, z, y, x)."""
        probability, target = vessel_probability(logit, labelled), label.to(logit.dtype)
        region = cross_entropy(logit, target, labelled) + 1 - soft_dice(probability, target)
        return region + RECALL_WEIGHT * (1 - skeleton_recall(probability, tube(skeleton.bool(), label.bool())))


def tube(skeleton: Tensor, label: Tensor) -> Tensor:
    """T: the voxels of `label` within TUBE_RADIUS_VOXELS steps of `skeleton`, all (B, 1, z, y, x) bool."""
    for _ in range(TUBE_RADIUS_VOXELS):
        skeleton = grow(skeleton)
    return skeleton & label


def skeleton_recall(probability: Tensor, tubes: Tensor) -> Tensor:
    """Soft recall of `probability` (float) on `tubes` (bool), both (B, 1, z, y, x)."""
    return ((probability * tubes).sum() + RECALL_SMOOTHING_VOXELS) / (tubes.sum() + RECALL_SMOOTHING_VOXELS)
