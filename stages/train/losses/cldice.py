"""Centreline Dice: overlap of each soft centreline with the other mask, joined with the soft Dice of the masks.

Source: Shit et al. 2021, "clDice – a Novel Topology-Preserving Loss Function for Tubular Structure Segmentation"
(CVPR).

    L      = (1 − α)·(1 − Dice) + α·(1 − clDice),  α = ½
    clDice = 2·Tprec·Tsens / (Tprec + Tsens)
    Tprec  = (Σ S_P·y + ε) / (Σ S_P + ε)
    Tsens  = (Σ S_L·p + ε) / (Σ S_L + ε)

p is the probability of vessel, y the label, S_P the soft skeleton of p (geometry/soft_skeleton.py, 10 rounds), S_L the
centreline of the label, Dice: dice_ce.py. Σ runs over the whole batch, ε = 1 as in the authors' code. The gradient
flows through p and through S_P.

The paper never trains with clDice alone, and neither does this loss: clDice does not see a vessel's width, so that
alone it is content with any tube about the right centreline. α = ½ is the largest share of it that the paper uses.

Deviation: S_L is the centreline of the whole volume that preprocess stored, not the soft skeleton of the label's
patch. It is one voxel wide, unbroken, has no spurs where the patch cuts a vessel, and costs nothing. With the label's
soft skeleton in its place this is the published loss.

Edge cases: no vessel in the label: Tsens = 1, and Tprec = 1 / (Σ S_P + 1) falls with every false centreline, which has
a gradient (Dice has next to none there). A patch that is all vessel, in p or y, has no skeleton there and that ratio
is near 1. A skeleton voxel outside the label is ignored.
"""

from typing import ClassVar

from torch import Tensor

from stages.train.losses.base import Loss, vessel_probability
from stages.train.losses.dice_ce import soft_dice
from stages.train.losses.geometry.soft_skeleton import soft_skeleton

CLDICE_SHARE = 0.5
CLDICE_SMOOTHING_VOXELS = 1.0


class ClDiceLoss(Loss):
    """Half soft Dice, half centreline Dice (formulas in the module's docstring)."""

    needs_skeleton: ClassVar[bool] = True

    def evaluate(self, logit: Tensor, label: Tensor, skeleton: Tensor, labelled: Tensor | None = None) -> Tensor:
        """Scalar loss for `logit` and `label`, with the label's centreline `skeleton`, all (B, 1, z, y, x)."""
        probability, target = vessel_probability(logit, labelled), label.to(logit.dtype)
        along = 1 - centreline_dice(probability, target, skeleton.to(logit.dtype), labelled)
        return (1 - CLDICE_SHARE) * (1 - soft_dice(probability, target)) + CLDICE_SHARE * along


def centreline_dice(probability: Tensor, target: Tensor, skeleton: Tensor, labelled: Tensor | None = None) -> Tensor:
    """Soft clDice of `probability` against `target` with its centreline `skeleton`: (B, 1, z, y, x), one float type.

    All three are 0 where not `labelled` (bool; None: everywhere).
    """
    unknown = None if labelled is None else ~labelled
    guessed_line, true_line = soft_skeleton(probability, unknown=unknown), skeleton * target
    precision = _smoothed_ratio((guessed_line * target).sum(), guessed_line.sum())
    sensitivity = _smoothed_ratio((true_line * probability).sum(), true_line.sum())
    return 2 * precision * sensitivity / (precision + sensitivity)


def _smoothed_ratio(part: Tensor, whole: Tensor) -> Tensor:
    return (part + CLDICE_SMOOTHING_VOXELS) / (whole + CLDICE_SMOOTHING_VOXELS)
