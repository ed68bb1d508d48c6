from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from stages.train.losses.cbdice import CbDiceLoss
from stages.train.losses.cbdice_cldice import CbDiceClDiceLoss
from stages.train.losses.cldice import ClDiceLoss, centreline_dice
from stages.train.losses.dice_ce import DiceCELoss, soft_dice
from stages.train.losses.dice_ce_cldice import DiceCEClDiceLoss
from tests.unit.stages.train.losses.geometry.pooled_skeleton import pooled_skeleton

Case = tuple[Tensor, Tensor, Tensor]


def published_cldice(probability: Tensor, target: Tensor, rounds: int = 10, smooth: float = 1.0) -> Tensor:
    """Soft clDice as the paper and its authors' code have it: both skeletons soft, by pooling."""
    guessed_line, true_line = pooled_skeleton(probability, rounds), pooled_skeleton(target, rounds)
    precision = ((guessed_line * target).sum() + smooth) / (guessed_line.sum() + smooth)
    sensitivity = ((true_line * probability).sum() + smooth) / (true_line.sum() + smooth)
    return 2 * precision * sensitivity / (precision + sensitivity)


def test_equals_the_published_loss_given_the_label_s_soft_skeleton(random_case: Case) -> None:
    """Value and gradient, on noise; the only difference is whose skeleton of the label is used."""
    logits, label, _ = random_case
    target = label.double()
    ours, theirs = ((logits[:, 1:] - logits[:, :1]).requires_grad_() for _ in range(2))
    found = centreline_dice(ours.sigmoid(), target, pooled_skeleton(target, 10))
    expected = published_cldice(theirs.sigmoid(), target)
    torch.testing.assert_close(found, expected)
    found.backward()
    expected.backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_hand_computed_half_of_a_line() -> None:
    """Of a line of 16 voxels the first 8 are found: Tprec = 9/9, Tsens = 9/17, clDice = 2·(9/17) / (26/17) = 9/13."""
    line = torch.zeros(1, 1, 3, 5, 16, dtype=torch.float64)
    line[0, 0, 1, 2] = 1
    half = line.clone()
    half[..., 8:] = 0
    assert centreline_dice(half, line, line).item() == pytest.approx(9 / 13, abs=1e-12)
    assert centreline_dice(line, half, half).item() == pytest.approx(9 / 13, abs=1e-12)
    assert centreline_dice(line, line, line).item() == 1


def test_width_is_not_seen_by_cldice_alone(tube: Callable[..., Tensor], axis_of_tube: Tensor) -> None:
    """Why no loss is clDice alone: a tube of any radius about the right centreline costs nothing."""
    target, line = tube(3).double(), axis_of_tube.double()
    for radius_voxels in (1, 2, 3, 4):
        assert centreline_dice(tube(radius_voxels).double(), target, line).item() == pytest.approx(1, abs=1e-6)


def test_falls_with_every_longer_gap_and_with_every_false_vessel(
    tube: Callable[..., Tensor], axis_of_tube: Tensor
) -> None:
    """The term by itself: gaps cost sensitivity, false vessels precision."""
    target, line = tube(3), axis_of_tube
    for masks in (
        [tube(3, gap_voxels=gap) for gap in (0, 4, 8, 16, 40)],
        [target, target | tube(0.5, y=20), target | tube(0.5, y=20) | tube(0.5, y=4)],
    ):
        values = [centreline_dice(mask.double(), target.double(), line.double()).item() for mask in masks]
        assert values == sorted(set(values), reverse=True)


def test_a_gap_is_pulled_on_though_nothing_is_predicted_there(
    tube: Callable[..., Tensor], axis_of_tube: Tensor
) -> None:
    """Where p < ½ on a true centreline the gradient is not silent, and raises p on the whole."""
    probability = (tube(3, gap_voxels=8).double() * 0.8 + 0.1).requires_grad_()
    (1 - centreline_dice(probability, tube(3).double(), axis_of_tube.double())).backward()
    assert probability.grad is not None
    gap = axis_of_tube & ~tube(3, gap_voxels=8)
    assert probability.grad[gap].sum() < -0.01 * gap.sum()
    assert (probability.grad[gap] < 0).float().mean() > 0.8


def test_no_vessel_in_the_label(tube: Callable[..., Tensor]) -> None:
    """None found is right and free; a found one costs, and following the gradient makes it cost less."""
    empty = torch.zeros_like(tube(1)).double()
    assert centreline_dice(empty, empty, empty) == 1
    noise = torch.rand(empty.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    probability = (tube(2) * 0.9 + 0.05 * noise).requires_grad_()
    value = 1 - centreline_dice(probability, empty, empty)
    (gradient,) = torch.autograd.grad(value, probability)
    assert value > 0.9
    step = 1e-4 * gradient / gradient.abs().max()
    assert 1 - centreline_dice((probability - step).detach(), empty, empty) < value


def test_skeleton_voxels_outside_the_label_are_ignored(tube: Callable[..., Tensor], axis_of_tube: Tensor) -> None:
    """An interpolated skeleton may leave its label; nothing should be found there."""
    stray = axis_of_tube.clone()
    stray[..., 1, 2, :] = True
    args = tube(2).double(), tube(2).double()
    assert centreline_dice(*args, stray.double()) == centreline_dice(*args, axis_of_tube.double())


def test_the_losses_are_the_sums_that_they_say(random_case: Case) -> None:
    """Weights ½ and ½ with Dice; 1 each with cross-entropy and Dice, and with cbDice's loss."""
    logits, label, skeleton = random_case
    probability, target = (logits[:, 1:] - logits[:, :1]).sigmoid(), label.double()
    term = 1 - centreline_dice(probability, target, skeleton.double())
    half = 0.5 * (1 - soft_dice(probability, target)) + 0.5 * term
    torch.testing.assert_close(ClDiceLoss()(*random_case), half)
    torch.testing.assert_close(DiceCEClDiceLoss()(*random_case), DiceCELoss()(*random_case) + term)
    torch.testing.assert_close(CbDiceClDiceLoss()(*random_case), CbDiceLoss()(*random_case) + term)
