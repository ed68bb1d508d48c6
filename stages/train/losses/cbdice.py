"""Centreline boundary Dice: overlap along both centrelines, measured by the vessel's radius; thin vessels weigh most.

Source: Shi et al. 2024, "Centerline Boundary Dice Loss for Vascular Segmentation" (MICCAI), with the choices of its
authors' published training code where the text leaves them open. The numbers of the equations are this module's own.

    L = 2·CE + (1 − Dice) + (1 − cbDice)                                                  (1)  CE, Dice: dice_ce.py
    cbDice = 2·Tprec·Tsens / (Tprec + Tsens)                                              (2)
    Tprec  = (Σ Q_SP · Q_VL + ε) / (Σ Q_SP · (Q_SL,VL where > 0, else Q_SP,VP) + ε)       (3)
    Tsens  = (Σ Q_SL · Q_VP + ε) / (Σ Q_SL · (Q_SP,VP where > 0, else Q_SL,VL) + ε)       (4)

Σ runs over the whole batch, ε = 1e-3. For X = L (label: p = 1) or P (prediction: p = probability), with the mask V
(label, or p > ½), its skeleton S ⊆ V and its distance to the background D, all of one patch:

    R_max = max of 1 and of D on S;  D̂ = min(D, R_max) / R_max                            (5)
    Q_V = D̂·p,  Q_S,V = D̂·p on S,  Q_S = p / D̂² on S, and 0 elsewhere                     (6)

So a centreline voxel of a thin vessel weighs (R_max / R)² (inverse radius, squared in 3D: the cross-section). It counts
fully on the other mask's centreline, less towards that mask's wall, not at all outside.

Hard skeletons, detached: V, S and D of the prediction come from p > ½ and carry no gradient; the gradient flows through
the p in (6), on the voxels of both centrelines. Both skeletons are the morphological ones of the patch: were the label
thinned in another way than the prediction, a perfect prediction would have a cbDice other than 1.

Deviations from the paper and its code:
- S_P is the skeleton of the mask p > ½. The faster variant of the authors takes a soft skeleton of p (10 rounds of
  min/max pooling) and cuts it at ½ for the weights. Both agree where p is 0 or 1. The soft one is below an unsure p
  (a tube of radius 4 voxels that peaks at 0.86 gives 0.58), so early on it is under ½ everywhere and the term silent.
- Q_S has no 1e-7 against division by zero: D ≥ 1 on S. The inverse is the published division; the authors' repository
  later changed to a subtraction, ((R_max − R + R_min) / R_max)², which the paper does not have.
- What is beyond the patch, or is not labelled, is unknown: it neither erodes nor bounds a vessel.
- 1 is added to each Dice term, so that a perfect prediction costs 0.
As in the authors' code, distances are in voxels, also where slices are farther apart than pixels.

Edge cases: no vessel in the label and none predicted gives Tprec = Tsens = cbDice = 1. A patch that is all foreground
has no skeleton, so that both ratios are 1. Where p ≤ ½ everywhere the term is 1 without a
gradient, and on a missed vessel (p ≤ ½ on S_L) it has none either: cross-entropy and Dice have to find it first. As
published, cbDice says little of the radius where both centrelines coincide (Dice does), and it can exceed 1 slightly,
as D̂ of the one mask may exceed D̂ of the other.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from stages.train.losses.base import Loss, vessel_probability
from stages.train.losses.dice_ce import cross_entropy, soft_dice
from stages.train.losses.geometry.distance import distance_to_background
from stages.train.losses.geometry.morphology import SPATIAL_AXES, morphological_skeleton

# the authors' training code pairs each Dice term with a cross-entropy of the same weight
CROSS_ENTROPY_WEIGHT = 2.0
CBDICE_SMOOTHING = 1e-3


class CbDiceLoss(Loss):
    """Cross-entropy + batch soft Dice + centreline boundary Dice (formulas in the module's docstring)."""

    def evaluate(
        self,
        logit: Tensor,
        label: Tensor,
        skeleton: Tensor,  # noqa: ARG002 - it thins by itself
        labelled: Tensor | None = None,
    ) -> Tensor:
        """Scalar loss for `logit` and `label`, both (B, 1, z, y, x)."""
        probability, target = vessel_probability(logit, labelled), label.to(logit.dtype)
        region = CROSS_ENTROPY_WEIGHT * cross_entropy(logit, target, labelled) + 1 - soft_dice(probability, target)
        unknown = None if labelled is None else ~labelled
        masks = torch.cat([label.bool(), probability.detach() > 0.5])
        of_both = None if unknown is None else torch.cat([unknown, unknown])
        of_label, of_guess = morphological_skeleton(masks, of_both).chunk(2)
        return region + 1 - centreline_boundary_dice(probability, label.bool(), of_label, of_guess, unknown)


@dataclass(frozen=True, kw_only=True)
class Centreline:
    """Geometry of one mask, equations (5) and (6) without p; each (B, 1, z, y, x), `depth` and `weight` float32.

    `on` is the skeleton S, `depth` is D̂ in [0, 1] (0 outside the mask), `weight` is 1/D̂² on S and 0 elsewhere.
    """

    on: Tensor
    depth: Tensor
    weight: Tensor


def centreline_boundary_dice(
    probability: Tensor,
    label: Tensor,
    label_skeleton: Tensor,
    predicted_skeleton: Tensor,
    unknown: Tensor | None = None,
) -> Tensor:
    """cbDice, equation (2), of `probability` (float) against `label` (bool), with the skeletons (bool) of the label and
    of probability > ½, each within its mask; all (B, 1, z, y, x). All four are 0 where `unknown` (bool).
    """
    masks = torch.cat([label, probability.detach() > 0.5])
    # what is unknown bounds no vessel
    solids = masks if unknown is None else masks | torch.cat([unknown, unknown])
    truth, guess = _centrelines(solids, torch.cat([label_skeleton, predicted_skeleton]))
    precision = _smoothed_ratio(
        (guess.weight * truth.depth * probability).sum(),
        (guess.weight * torch.where(truth.on, truth.depth, guess.depth * probability) * probability).sum(),
    )
    sensitivity = _smoothed_ratio(
        (truth.weight * guess.depth * probability).sum(),
        (truth.weight * torch.where(guess.on, guess.depth * probability, truth.depth)).sum(),
    )
    return 2 * precision * sensitivity / (precision + sensitivity)


@torch.no_grad()
def _centrelines(masks: Tensor, on: Tensor) -> tuple[Centreline, Centreline]:
    """The geometry of label and prediction, computed as one batch: half the passes over memory that is small anyway."""
    distance_voxels = distance_to_background(masks)
    radius_max = (distance_voxels * on).amax(dim=SPATIAL_AXES, keepdim=True).clamp_(min=1)
    depth = distance_voxels.minimum(radius_max) / radius_max
    weight = torch.where(on, depth.pow(-2), 0)
    count = len(masks) // 2
    truth = Centreline(on=on[:count], depth=depth[:count], weight=weight[:count])
    return truth, Centreline(on=on[count:], depth=depth[count:], weight=weight[count:])


def _smoothed_ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    return (numerator + CBDICE_SMOOTHING) / (denominator + CBDICE_SMOOTHING)
