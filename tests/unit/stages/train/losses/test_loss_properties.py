"""Promises that every loss of the catalogue keeps."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from stages.train.losses import LOSSES, Loss, build_loss
from stages.train.losses.warp import WarpLoss
from tests.unit.stages.train.losses.finite_differences import finite_differences

Case = tuple[Tensor, Tensor, Tensor]


@pytest.fixture(params=sorted(LOSSES))
def loss(request: pytest.FixtureRequest) -> Loss:
    return build_loss(request.param)


def value_and_gradient(loss: Loss, logits: Tensor, label: Tensor, skeleton: Tensor) -> tuple[Tensor, Tensor]:
    leaf = logits.clone().requires_grad_()
    value = loss(leaf, label, skeleton)
    value.backward()
    assert leaf.grad is not None
    return value.detach(), leaf.grad


def special_masks() -> dict[str, Tensor]:
    single = torch.zeros(2, 1, 5, 8, 9, dtype=torch.uint8)
    single[1, 0, 2, 4, 4] = 1
    half_full = torch.zeros_like(single)
    half_full[0] = 1
    noise = (torch.rand(single.shape, generator=torch.Generator().manual_seed(0)) < 0.3).to(torch.uint8)
    return {"empty": single * 0, "full": single * 0 + 1, "single": single, "full_and_empty": half_full, "noise": noise}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("label_name", sorted(special_masks()))
@pytest.mark.parametrize("guess_name", sorted(special_masks()))
def test_value_and_gradient_are_finite(loss: Loss, guess_name: str, label_name: str, dtype: torch.dtype) -> None:
    """No mask, empty, full or of one voxel, and no logit up to ±50 gives NaN, infinity or a negative loss."""
    guess, label = special_masks()[guess_name], special_masks()[label_name]
    for scale in (0.0, 1e-3, 1.0, 50.0):
        half = (guess.float() * 2 - 1) * scale
        value, gradient = value_and_gradient(loss, torch.cat([-half, half], dim=1).to(dtype), label, label)
        assert value.dtype == torch.float32
        assert value.shape == ()
        assert torch.isfinite(value)
        assert value > -1e-3
        assert gradient.dtype == dtype
        assert torch.isfinite(gradient).all()
        assert gradient.abs().max() < 10


@pytest.mark.parametrize("label_name", sorted(special_masks()))
def test_a_perfect_confident_prediction_costs_nothing(loss: Loss, label_name: str) -> None:
    """The minimum is 0, also for masks that are empty, full or one voxel."""
    label = special_masks()[label_name]
    half = (label.float() * 2 - 1) * 20
    assert loss(torch.cat([-half, half], dim=1), label, label).item() == pytest.approx(0, abs=1e-5)


def test_bf16_logits_are_computed_in_float32(loss: Loss, random_case: Case) -> None:
    """Half precision rounds the logits and nothing else, inside autocast and outside."""
    logits, label, skeleton = random_case
    half = logits.bfloat16()
    expected = loss(half.float(), label, skeleton)
    assert torch.equal(loss(half, label, skeleton), expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(loss(half, label, skeleton), expected)
        assert torch.equal(loss(half.float(), label, skeleton), expected)


@pytest.mark.parametrize("label_dtype", [torch.uint8, torch.int64, torch.bool, torch.float32])
def test_the_label_s_type_makes_no_difference(loss: Loss, random_case: Case, label_dtype: torch.dtype) -> None:
    """Loaders may hand labels over in any type of {0, 1}."""
    logits, label, skeleton = random_case
    expected = loss(logits.float(), label, skeleton)
    assert torch.equal(loss(logits.float(), label.to(label_dtype), skeleton.to(label_dtype)), expected)


def test_a_common_offset_of_both_channels_changes_nothing(loss: Loss, random_case: Case) -> None:
    """Only the difference of the two logits has a meaning under softmax."""
    logits, label, skeleton = random_case
    torch.testing.assert_close(loss(logits + 3.5, label, skeleton), loss(logits, label, skeleton))


def test_gradient_agrees_with_finite_differences(loss: Loss, random_case: Case) -> None:
    """Every partial derivative, in float64 and away from the threshold of the hard masks."""
    logits, label, skeleton = (part[:2, :, :3, :4, :3].contiguous() for part in random_case)
    _, gradient = value_and_gradient(loss, logits, label, skeleton)
    expected = finite_differences(lambda moved: loss(moved, label, skeleton), logits)
    torch.testing.assert_close(gradient, expected, rtol=1e-3, atol=1e-8)


def moved(logits: Tensor, label: Tensor, skeleton: Tensor, move: Callable[[Tensor], Tensor]) -> Case:
    return move(logits), move(label), move(skeleton)


MOVES: dict[str, Callable[[Tensor], Tensor]] = {
    "flip z": lambda x: x.flip(2),
    "flip y": lambda x: x.flip(3),
    "flip x": lambda x: x.flip(4),
    "swap y x": lambda x: x.transpose(3, 4),
    "swap z x": lambda x: x.transpose(2, 4),
    "permute batch": lambda x: x[[2, 0, 1]],
    "channels last": lambda x: x.contiguous(memory_format=torch.channels_last_3d),
}
CHANGES_OF_PLACE = [move for name, move in MOVES.items() if name.startswith(("flip", "swap"))]


@pytest.mark.parametrize("move", MOVES.values(), ids=MOVES)
def test_flips_swaps_and_order_of_the_batch_change_nothing(
    loss: Loss, random_case: Case, move: Callable[[Tensor], Tensor]
) -> None:
    """Value and gradient move along with the volume.

    But for warp's on noise: where voxels are equally far from the boundary, their place decides which one is flipped
    first. There the value moves by less than 2 %, and test_warp.py has the clear cases.
    """
    value, gradient = value_and_gradient(loss, *random_case)
    value_moved, gradient_moved = value_and_gradient(loss, *moved(*random_case, move))
    if isinstance(loss, WarpLoss) and move in CHANGES_OF_PLACE:
        torch.testing.assert_close(value_moved, value, rtol=0.02, atol=0)
        return
    torch.testing.assert_close(value_moved, value)
    torch.testing.assert_close(gradient_moved, move(gradient))


def test_the_same_input_gives_the_same_bits(loss: Loss, random_case: Case) -> None:
    """Resuming bit for bit needs value and gradient to be reproducible."""
    logits, label, skeleton = random_case
    first = value_and_gradient(loss, logits.float(), label, skeleton)
    second = value_and_gradient(loss, logits.float(), label, skeleton)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_a_loss_that_needs_no_skeleton_ignores_it(loss: Loss, random_case: Case) -> None:
    """`needs_skeleton` is the truth: the engine passes a placeholder where it is False."""
    logits, label, skeleton = random_case
    same = torch.equal(loss(logits, label, skeleton), loss(logits, label, torch.zeros_like(label)))
    assert same is not loss.needs_skeleton


def test_the_loss_at_a_time_follows_from_the_time_alone(loss: Loss, random_case: Case) -> None:
    """Asked out of order, or asked anew as a resumed training does: the same bits."""
    logits, label, skeleton = random_case
    times = (0.9, 0.0, 0.5, 0.9, 0.1)
    values = [loss.at(progress)(logits, label, skeleton) for progress in times]
    fresh = [type(loss)().at(progress)(logits, label, skeleton) for progress in times]
    assert all(torch.equal(a, b) for a, b in zip(values, fresh, strict=True))
    assert torch.equal(values[0], loss(logits, label, skeleton))


def test_worse_predictions_cost_more(
    loss: Loss, tube: Callable[..., Tensor], axis_of_tube: Tensor, as_logits: Callable[..., Tensor]
) -> None:
    """Each series from a perfect tube to an ever worse one raises the loss at every step."""
    label = tube(3)
    series = {
        "dilated": [tube(3), tube(4), tube(5)],
        "eroded": [tube(3), tube(2), tube(1)],
        "broken": [tube(3), tube(3, gap_voxels=4), tube(3, gap_voxels=12), tube(3, gap_voxels=40)],
        "displaced": [tube(3), tube(3, y=13), tube(3, y=15), tube(3, y=18)],
    }
    for name, masks in series.items():
        values = [loss(as_logits(mask), label, axis_of_tube).item() for mask in masks]
        assert values[0] < 1e-3
        assert values == sorted(set(values)), name


def test_descent_finds_the_tube(loss: Loss, tube: Callable[..., Tensor], axis_of_tube: Tensor) -> None:
    """50 steps on a free volume of logits, from noise, lower the loss and reach a DSC above 0.9."""
    label, axis = (mask[:, :, 1:10, 5:19, :16] for mask in (tube(3), axis_of_tube))
    logits = torch.randn(1, 2, *label.shape[2:], generator=torch.Generator().manual_seed(1)).requires_grad_()
    optimizer = torch.optim.Adam([logits], lr=0.2)
    values = []
    for _ in range(50):
        optimizer.zero_grad()
        value = loss(logits, label, axis)
        value.backward()
        optimizer.step()
        values.append(value.item())
    found = (logits[:, 1:] > logits[:, :1]).detach()
    dsc = 2 * (found & label).sum() / (found.sum() + label.sum())
    assert values[-1] < 0.2 * values[0]
    assert dsc > 0.9
