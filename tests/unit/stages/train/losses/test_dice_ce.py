import math

import pytest
import torch
from monai.losses.dice import DiceCELoss as MonaiDiceCELoss
from torch import Tensor

from stages.train.losses.dice_ce import DiceCELoss, soft_dice

Case = tuple[Tensor, Tensor, Tensor]


def test_equals_monai_with_the_same_options(random_case: Case) -> None:
    """Value and gradient are those of MONAI's batch Dice on the foreground plus cross-entropy."""
    logits, label, skeleton = random_case
    reference = MonaiDiceCELoss(
        include_background=False, to_onehot_y=True, softmax=True, batch=True, smooth_nr=1e-5, smooth_dr=1e-5
    )
    ours, theirs = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    value, expected = DiceCELoss()(ours, label, skeleton), reference(theirs, label)
    value.backward()
    expected.backward()
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_hand_computed_case() -> None:
    """Four voxels, p = ½, ¾, ½, ¼ and label 1, 1, 0, 0: CE = (2 ln 2 + 2 ln 4/3) / 4, Dice = 2·1.25 / (2 + 2)."""
    logit = torch.tensor([0.0, math.log(3), 0.0, -math.log(3)], dtype=torch.float64).view(1, 1, 1, 2, 2)
    logits = torch.cat([torch.zeros_like(logit), logit], dim=1)
    label = torch.tensor([1, 1, 0, 0]).view(1, 1, 1, 2, 2)
    expected = (2 * math.log(2) + 2 * math.log(4 / 3)) / 4 + 1 - 2.5 / 4
    assert DiceCELoss()(logits, label, label).item() == pytest.approx(expected, abs=1e-5)


def test_dice_is_of_the_batch_not_a_mean_over_patches() -> None:
    """A patch without vessels, predicted right, neither helps nor harms the Dice of the others."""
    generator = torch.Generator().manual_seed(0)
    probability = torch.rand(1, 1, 4, 8, 8, generator=generator, dtype=torch.float64)
    target = (torch.rand(probability.shape, generator=generator) < 0.1).double()
    with_empty = soft_dice(torch.cat([probability, probability * 0]), torch.cat([target, target * 0]))
    assert with_empty == soft_dice(probability, target)


def test_gradient_stays_bounded_where_the_label_is_empty() -> None:
    """ε/ε at p → 0 must not explode: |∂(1 − D)/∂logit| ≤ ½ for one voxel, at every logit."""
    for logit in torch.linspace(-50, 50, 401):
        leaf = logit.view(1, 1, 1, 1, 1).clone().requires_grad_()
        (gradient,) = torch.autograd.grad(1 - soft_dice(leaf.sigmoid(), torch.zeros_like(leaf)), leaf)
        assert gradient.abs() <= 0.5
