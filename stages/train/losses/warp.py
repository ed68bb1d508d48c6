"""Homotopy warping: cross-entropy on the voxels that keep prediction and label from having the same topology.

Source: Hu 2022, "Structure-Aware Image Segmentation with Homotopy Warping" (NeurIPS).

    L = (1 − Dice) + λ·Σ_M CE / |M|,  λ = ½          M: critical voxels (geometry/homotopy.py)        (1)
    L = 1 − Dice                                     in the first half of the training: warm-up       (2)

M holds the voxels in which the masks still differ after the prediction p > ½ was warped towards the label, or the label
towards the prediction, by flipping simple points in the order of their distance from the boundary. So M marks where
vessels are broken or joined, a loop closed or opened, a piece missing or made up, and no voxel of a vessel that is
merely too thick, too thin or too short. CE is the cross-entropy of such a voxel, Dice the soft Dice of the batch
(dice_ce.py). M carries no gradient.

Deviations from the paper and its code:
- A voxel is simple if it is by the theorem for 26 and 6 neighbours. The authors' code counts pieces of vessel over 6
  and of background over 26 neighbours with the voxel itself, which flips voxels that join or part vessels.
- Flips are repeated until none is left; the authors' code goes through the voxels once.
- The mean over M, where the authors' code multiplies a mean over all voxels by |M|: λ means the same for every patch
  and batch size, and no step is dominated by one bad prediction.
- The length of the warm-up is this module's choice. Before the network finds vessels, nearly every voxel that is wrong
  is critical, and warping costs most while it tells least.

Edge cases: no critical voxel, as in a prediction of the right topology: the term is 0. Neither mask has a vessel: M is
empty. A vessel that the other mask lacks altogether is critical as a whole. Beyond the patch, and
where nobody labelled, is background, in both.
"""

from torch import Tensor
from torch.nn import functional

from stages.train.losses.base import Loss, vessel_probability
from stages.train.losses.dice_ce import soft_dice
from stages.train.losses.geometry.homotopy import critical_voxels

WARP_WEIGHT = 0.5
WARM_UP_SHARE = 0.5


class SoftDiceLoss(Loss):
    """1 − Dice: what warp trains with until the network finds vessels."""

    def evaluate(
        self,
        logit: Tensor,
        label: Tensor,
        skeleton: Tensor,  # noqa: ARG002 - a loss on voxels alone
        labelled: Tensor | None = None,
    ) -> Tensor:
        """Scalar loss for `logit` and `label`, both (B, 1, z, y, x)."""
        return 1 - soft_dice(vessel_probability(logit, labelled), label.to(logit.dtype))


class WarpLoss(SoftDiceLoss):
    """Soft Dice + cross-entropy on critical voxels: equation (1) of the module's docstring."""

    def at(self, progress: float) -> Loss:
        """Equation (2) in the warm-up, equation (1) after it."""
        return SoftDiceLoss() if progress < WARM_UP_SHARE else self

    def evaluate(self, logit: Tensor, label: Tensor, skeleton: Tensor, labelled: Tensor | None = None) -> Tensor:
        """Scalar loss for `logit` and `label`, both (B, 1, z, y, x)."""
        # a logit of 0, which those that are not labelled have, is not vessel: there the masks agree
        critical = critical_voxels(logit.detach() > 0, label.bool(), None if labelled is None else ~labelled)
        target = label[critical].to(logit.dtype)
        total = functional.binary_cross_entropy_with_logits(logit[critical], target, reduction="sum")
        return super().evaluate(logit, label, skeleton, labelled) + WARP_WEIGHT * total / max(len(target), 1)
