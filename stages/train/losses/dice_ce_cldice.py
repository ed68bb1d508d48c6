"""Cross-entropy, soft Dice and centreline Dice in equal parts: the standard pair with a sense of the centreline.

    L = CE + (1 − Dice) + (1 − clDice)          CE, Dice: dice_ce.py; clDice: cldice.py

clDice: Shit et al. 2021 (CVPR). Cross-entropy and Dice find the vessels and their width, clDice keeps them connected.
Weights of 1 keep the region terms as strong as they are in dice_ce, so that the two losses differ in the centreline
term alone and can be compared.

Edge cases are those of the terms; 0 for a right, confident prediction whatever the label.
"""

from typing import ClassVar

from torch import Tensor

from stages.train.losses.base import Loss, vessel_probability
from stages.train.losses.cldice import centreline_dice
from stages.train.losses.dice_ce import cross_entropy, soft_dice


class DiceCEClDiceLoss(Loss):
    """Cross-entropy + batch soft Dice + centreline Dice (formula in the module's docstring)."""

    needs_skeleton: ClassVar[bool] = True

    def evaluate(self, logit: Tensor, label: Tensor, skeleton: Tensor, labelled: Tensor | None = None) -> Tensor:
        """Scalar loss for `logit` and `label`, with the label's centreline `skeleton`, all (B, 1, z, y, x)."""
        probability, target = vessel_probability(logit, labelled), label.to(logit.dtype)
        region = cross_entropy(logit, target, labelled) + 1 - soft_dice(probability, target)
        return region + 1 - centreline_dice(probability, target, skeleton.to(logit.dtype), labelled)
