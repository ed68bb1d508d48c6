import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from stages.train.losses.dice_ce import soft_dice
from stages.train.losses.geometry.homotopy import critical_voxels
from stages.train.losses.warp import WARM_UP_SHARE, WarpLoss

Case = tuple[Tensor, Tensor, Tensor]
SHAPE = (1, 1, 5, 9, 16)


def line(*stretches: slice, y: int = 4) -> Tensor:
    """Voxels of a straight vessel, one wide."""
    mask = torch.zeros(SHAPE, dtype=torch.bool)
    for stretch in stretches:
        mask[0, 0, 2, y, stretch] = True
    return mask


def ring() -> Tensor:
    mask = torch.zeros(SHAPE, dtype=torch.bool)
    mask[0, 0, 2, 2:7, 4:9] = True
    mask[0, 0, 2, 3:6, 5:8] = False
    return mask


SYMMETRIES: list[Callable[[Tensor], Tensor]] = [
    lambda x: x,
    lambda x: x.flip(2),
    lambda x: x.flip(3),
    lambda x: x.flip(4),
    lambda x: x.transpose(2, 4),
    lambda x: x.transpose(3, 4).flip(3),
]


@pytest.mark.parametrize("move", SYMMETRIES, ids=["as it is", "flip z", "flip y", "flip x", "swap z x", "turn"])
def test_where_one_voxel_decides_it_is_found_whichever_way_the_patch_lies(move: Callable[[Tensor], Tensor]) -> None:
    """A broken vessel, two joined ones, an opened ring, a lost voxel: exactly the voxels that a person would mark."""
    whole, broken = line(slice(0, 16)), line(slice(0, 8), slice(9, 16))
    opened = ring()
    opened[0, 0, 2, 2, 6] = False
    lonely = line(slice(3, 4), y=0)
    for first, second in ((whole, broken), (ring(), opened), (whole | lonely, whole)):
        found = critical_voxels(move(first), move(second))
        assert torch.equal(found, move(first ^ second))


def test_a_vessel_of_another_width_or_length_is_not_critical(tube: Callable[..., Tensor]) -> None:
    """Topology is all that the term sees: radius, place and length are Dice's business."""
    short = tube(3) & (torch.arange(32) < 20)
    for guess in (tube(1), tube(5), tube(3, y=14), short):
        assert not critical_voxels(guess, tube(3)).any()


def test_a_wide_gap_and_a_wide_bridge_are_marked_where_they_part_or_join(tube: Callable[..., Tensor]) -> None:
    """Of a gap of 6 voxels in a vessel of radius 3, some voxels in the gap, and no voxel elsewhere."""
    broken = tube(3, gap_voxels=6)
    broken_thin = broken & tube(2)
    found = critical_voxels(broken_thin, tube(3))
    assert 0 < found.sum() <= (tube(3) & ~broken).sum()
    assert not (found & broken).any()
    apart = tube(1, y=6) | tube(1, y=18)
    bridge = apart.clone()
    bridge[0, 0, 4:7, 6:19, 14:17] = True
    found = critical_voxels(bridge, apart)
    assert found.any()
    assert not (found & ~(bridge & ~apart)).any()


def test_hand_computed_broken_line(as_logits: Callable[..., Tensor]) -> None:
    """One voxel of 16 is missed at log odds −2: L = 1 − Dice + ½ ln(1 + e²), gradient of the term ½·(p − 1) there."""
    whole, broken = line(slice(0, 16)), line(slice(0, 8), slice(9, 16))
    logits = as_logits(broken, confidence=2.0).requires_grad_()
    logit = logits[:, 1:] - logits[:, :1]
    dice = soft_dice(logit.sigmoid(), whole.double())
    value = WarpLoss()(logits, whole, whole)
    assert value.item() == pytest.approx(1 - dice.item() + 0.5 * math.log(1 + math.exp(2)), abs=1e-9)
    (gradient,) = torch.autograd.grad(value - (1 - dice), logits)
    expected = torch.zeros(SHAPE, dtype=torch.float64)
    expected[whole & ~broken] = 0.5 * (1 / (1 + math.exp(2)) - 1)
    torch.testing.assert_close(gradient[:, 1:], expected)


def test_the_weight_of_the_term_does_not_depend_on_how_many_voxels_are_critical(
    as_logits: Callable[..., Tensor],
) -> None:
    """A mean over critical voxels: two breaks weigh as much as one, and the term moves both."""
    whole = line(slice(0, 16))
    losses = []
    for broken in (line(slice(0, 8), slice(9, 16)), line(slice(0, 4), slice(5, 11), slice(12, 16))):
        logits = as_logits(broken, confidence=2.0)
        dice = soft_dice((logits[:, 1:] - logits[:, :1]).sigmoid(), whole.double())
        losses.append((WarpLoss()(logits, whole, whole) - (1 - dice)).item())
    assert losses[0] == pytest.approx(losses[1], abs=1e-9)
    assert losses[0] == pytest.approx(0.5 * math.log(1 + math.exp(2)), abs=1e-9)


def test_the_warm_up_is_soft_dice_and_then_comes_warping(random_case: Case) -> None:
    """`at` follows from the progress alone: 1 − Dice before the half, everything from the half on."""
    logits, label, skeleton = random_case
    loss = WarpLoss()
    dice = 1 - soft_dice((logits[:, 1:] - logits[:, :1]).sigmoid(), label.double())
    for progress in (0.0, WARM_UP_SHARE / 2, WARM_UP_SHARE - 1e-9):
        torch.testing.assert_close(loss.at(progress)(logits, label, skeleton), dice)
    full = loss(logits, label, skeleton)
    assert full > dice + 0.1
    for progress in (WARM_UP_SHARE, 0.999):
        assert torch.equal(loss.at(progress)(logits, label, skeleton), full)
