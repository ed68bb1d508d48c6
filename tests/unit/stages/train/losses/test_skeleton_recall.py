from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from stages.train.losses.dice_ce import DiceCELoss
from stages.train.losses.skeleton_recall import SkeletonRecallLoss, skeleton_recall
from stages.train.losses.skeleton_recall import tube as tube_of

Case = tuple[Tensor, Tensor, Tensor]


def test_the_tube_is_the_skeleton_dilated_twice_within_the_label(random_case: Case) -> None:
    """As in the paper: two dilations with the 6-neighbourhood, cut to the label; by scipy."""
    _, label, skeleton = random_case
    for voxels, line, found in zip(label, skeleton, tube_of(skeleton.bool(), label.bool()), strict=True):
        dilated = ndimage.binary_dilation(line[0].numpy(), iterations=2)
        np.testing.assert_array_equal(found[0].numpy(), dilated & voxels[0].bool().numpy())


def test_hand_computed_recall() -> None:
    """A line of 10 voxels in a wide label: 8 have neighbours on both sides, so a tube of 13 voxels a cross-section.

    Here the label is the line's own plane, 5 wide, so T is 5 × 10 but for what the ends lack: all 10 planes are whole
    since the line runs through. p = ½ everywhere: (25 + 1) / (50 + 1).
    """
    label = torch.ones(1, 1, 1, 9, 10, dtype=torch.bool)
    line = torch.zeros_like(label)
    line[..., 4, :] = True
    tubes = tube_of(line, label)
    assert tubes.sum() == 50
    assert skeleton_recall(torch.full(label.shape, 0.5), tubes).item() == pytest.approx(26 / 51)


def test_loss_is_the_sum_of_its_published_terms(random_case: Case) -> None:
    """L = CE + (1 − Dice) + (1 − Recall)."""
    logits, label, skeleton = random_case
    probability = (logits[:, 1:] - logits[:, :1]).sigmoid()
    recall = skeleton_recall(probability, tube_of(skeleton.bool(), label.bool()))
    torch.testing.assert_close(SkeletonRecallLoss()(*random_case), DiceCELoss()(*random_case) + 1 - recall)


def test_gradient_of_the_term_pulls_on_the_tube_alone(tube: Callable[..., Tensor], axis_of_tube: Tensor) -> None:
    """Every voxel of the tube equally, nothing else, also where nothing is predicted yet."""
    label, line = tube(4), axis_of_tube
    probability = torch.full(label.shape, 0.01, dtype=torch.float64, requires_grad=True)
    tubes = tube_of(line, label)
    (1 - skeleton_recall(probability, tubes)).backward()
    assert probability.grad is not None
    assert not probability.grad[~tubes].any()
    torch.testing.assert_close(
        probability.grad[tubes], torch.full((int(tubes.sum()),), -1 / (int(tubes.sum()) + 1)).double()
    )


def test_without_a_centreline_it_is_dice_ce(tube: Callable[..., Tensor], as_logits: Callable[..., Tensor]) -> None:
    """A patch without vessels has nothing to recall: value and gradient of the region terms."""
    logits = as_logits(tube(2), confidence=2.0).requires_grad_()
    empty = torch.zeros_like(tube(2))
    ours, theirs = SkeletonRecallLoss()(logits, empty, empty), DiceCELoss()(logits, empty, empty)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(*(torch.autograd.grad(value, logits)[0] for value in (ours, theirs)))
