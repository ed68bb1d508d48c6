"""Centreline boundary Dice with centreline Dice: radius-weighted overlap of hard centrelines, and the soft centreline.

    L = 2·CE + (1 − Dice) + (1 − cbDice) + (1 − clDice)          cbDice: cbdice.py (Shi et al. 2024), clDice: cldice.py

cbDice weighs centrelines by the vessel's radius, but its skeletons are hard: where p ≤ ½ it has no gradient. clDice's
soft skeleton has one there, and pulls on a gap that cbDice cannot see yet. The first two terms are those that cbDice's
authors train with.

Edge cases are those of the terms; 0 for a right, confident prediction whatever the label.
"""

from typing import ClassVar

from torch import Tensor

from stages.train.losses.base import vessel_probability
from stages.train.losses.cbdice import CbDiceLoss
from stages.train.losses.cldice import centreline_dice


class CbDiceClDiceLoss(CbDiceLoss):
    """cbDice's loss + centreline Dice (formula in the module's docstring)."""

    needs_skeleton: ClassVar[bool] = True

    def evaluate(self, logit: Tensor, label: Tensor, skeleton: Tensor, labelled: Tensor | None = None) -> Tensor:
        """Scalar loss for `logit` and `label`, with the label's centreline `skeleton`, all (B, 1, z, y, x)."""
        probability, target = vessel_probability(logit, labelled), label.to(logit.dtype)
        along = centreline_dice(probability, target, skeleton.to(logit.dtype), labelled)
        return super().evaluate(logit, label, skeleton, labelled) + 1 - along
