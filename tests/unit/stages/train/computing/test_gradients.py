"""A batch in parts gives the gradient of the whole batch, for every loss, sizes that do not divide it included."""

import copy
import functools

import pytest
import torch

from stages.common.networks.catalogue import build_network
from stages.common.networks.plan import plan_network
from stages.train.computing.gradients import add_gradients
from stages.train.losses import build_loss
from stages.train.losses.catalogue import LOSSES
from stages.train.sampling.loading import Batch
from tests.unit.stages.train.tiny import random_batch

SHAPE = (4, 16, 16)
BATCH = random_batch(SHAPE, size=5, seed=3)


def _network(dtype: torch.dtype, *, heads: bool = False) -> torch.nn.Module:
    plan = plan_network(spacing_um=(5.0, 1.0, 1.0), patch_voxels=SHAPE, filters=(4, 6, 8))
    return build_network(plan, 1, architecture="dynunet", deep_supervision=heads).to(dtype)


def _gradients(
    network: torch.nn.Module, batch: Batch, loss: str, micro_batch: int | None
) -> tuple[float, dict[str, torch.Tensor]]:
    network = copy.deepcopy(network)
    value = add_gradients(network, batch, build_loss(loss), micro_batch=micro_batch)
    return value, {name: parameter.grad for name, parameter in network.named_parameters() if parameter.grad is not None}


def _in(dtype: torch.dtype) -> Batch:
    return Batch(image=BATCH.image.to(dtype), label=BATCH.label, skeleton=BATCH.skeleton, ids=BATCH.ids)


@functools.cache
def _of_the_whole(loss: str, heads: bool) -> tuple[float, dict[str, torch.Tensor]]:
    """For every size of micro-batches."""
    return _gradients(_network(torch.float64, heads=heads), _in(torch.float64), loss, None)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(("micro_batch", "heads"), [(1, True), (2, False), (3, True), (4, False)])
def test_parts_give_the_gradient_of_the_whole_batch(loss: str, micro_batch: int, heads: bool) -> None:
    """In float64 to rounding: the sums over the batch that a loss divides stay sums over the whole batch.

    With deep supervision too, where every head has a loss of its own over the whole batch.
    """
    network, batch = _network(torch.float64, heads=heads), _in(torch.float64)
    whole_loss, whole = _of_the_whole(loss, heads)
    parts_loss, parts = _gradients(network, batch, loss, micro_batch)
    assert parts_loss == pytest.approx(whole_loss, rel=1e-12)
    assert parts.keys() == whole.keys()
    for name, gradient in whole.items():
        torch.testing.assert_close(parts[name], gradient, rtol=1e-7, atol=1e-9 * float(gradient.norm()) + 1e-15)


def test_the_mean_of_the_parts_losses_would_be_another_gradient() -> None:
    """Why the logits of the whole batch are needed: batch Dice is no mean over patches."""
    network = _network(torch.float64)
    batch = _in(torch.float64)
    label = batch.label.clone()
    label[0] = 0  # patches differ in how much they hold
    batch = Batch(image=batch.image, label=label, skeleton=label, ids=batch.ids)
    _, whole = _gradients(network, batch, "dice_ce", None)
    averaged = copy.deepcopy(network)
    for number in range(5):
        patch = slice(number, number + 1)
        one = Batch(image=batch.image[patch], label=label[patch], skeleton=label[patch], ids=["x"])
        add_gradients(averaged, one, build_loss("dice_ce"), scale=lambda loss: loss / 5)
    far = max(
        float((parameter.grad - whole[name]).norm() / whole[name].norm())
        for name, parameter in averaged.named_parameters()
        if parameter.grad is not None and float(whole[name].norm()) > 1e-3
    )
    assert far > 0.01


@pytest.mark.parametrize("micro_batch", [1, 2])
def test_float32_agrees_to_rounding(micro_batch: int) -> None:
    """The arithmetic of a real training."""
    whole_loss, whole = _gradients(_network(torch.float32), BATCH, "dice_ce", None)
    parts_loss, parts = _gradients(_network(torch.float32), BATCH, "dice_ce", micro_batch)
    assert parts_loss == pytest.approx(whole_loss, rel=1e-5)
    size = torch.stack([gradient.norm() for gradient in whole.values()]).norm()
    for name, gradient in whole.items():
        assert float((parts[name] - gradient).norm()) < 1e-4 * float(size), name


@pytest.mark.parametrize("micro_batch", [5, 8, None])
def test_a_micro_batch_that_holds_the_batch_changes_no_bit(micro_batch: int | None) -> None:
    """The default of a CPU computes as it always did."""
    network = _network(torch.float32)
    value, gradients = _gradients(network, BATCH, "dice_ce", micro_batch)
    plain = copy.deepcopy(network)
    loss = build_loss("dice_ce")(plain(BATCH.image), BATCH.label, BATCH.skeleton)
    loss.backward()
    assert value == loss.item()
    for name, parameter in plain.named_parameters():
        if parameter.grad is not None:
            assert torch.equal(gradients[name], parameter.grad)


@pytest.mark.parametrize("micro_batch", [None, 2])
def test_a_loss_that_is_not_finite_adds_nothing(micro_batch: int | None) -> None:
    """The step is skipped, and no parameter carries a trace of it."""
    batch = random_batch(SHAPE, size=5)
    batch.image[4, 0, 0, 0, 0] = float("nan")
    value, gradients = _gradients(_network(torch.float32), batch, "dice_ce", micro_batch)
    assert value != value  # NaN
    assert gradients == {}


def test_the_scale_of_fp16_reaches_every_part() -> None:
    """GradScaler multiplies the loss; the gradient is as many times as large."""
    network, batch = _network(torch.float64), _in(torch.float64)
    _, plain = _gradients(network, batch, "dice_ce", 2)
    add_gradients(network, batch, build_loss("dice_ce"), micro_batch=2, scale=lambda loss: 1024 * loss)
    for name, parameter in network.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(parameter.grad, 1024 * plain[name])


@pytest.mark.parametrize(("micro_batch", "forwards"), [(None, [(5, True)]), (2, [(2, False), (2, False), (1, False)])])
def test_the_networks_arithmetic_is_the_asked_one_in_every_pass(
    micro_batch: int | None, forwards: list[tuple[int, bool]]
) -> None:
    """In parts: one pass without a graph for the logits, then one with it; both in bf16, or they would not agree."""
    network, seen = _network(torch.float32), []

    def note(_network: torch.nn.Module, given: tuple[torch.Tensor]) -> None:
        assert torch.is_autocast_enabled("cpu")
        assert torch.get_autocast_dtype("cpu") == torch.bfloat16
        seen.append((len(given[0]), torch.is_grad_enabled()))

    network.register_forward_pre_hook(note)
    add_gradients(network, BATCH, build_loss("dice_ce"), autocast_dtype=torch.bfloat16, micro_batch=micro_batch)
    again = [] if micro_batch is None else [(count, True) for count, _ in forwards]
    assert seen == forwards + again


@pytest.mark.parametrize("micro_batch", [None, 2])
def test_gradients_are_added_to_those_that_are_there(micro_batch: int | None) -> None:
    """As `backward` does; a step sets them to zero first."""
    network, batch, loss = _network(torch.float64), _in(torch.float64), build_loss("dice_ce")
    _, once = _gradients(network, batch, "dice_ce", micro_batch)
    for _ in range(2):
        add_gradients(network, batch, loss, micro_batch=micro_batch)
    assert once
    for name, gradient in once.items():
        torch.testing.assert_close(network.get_parameter(name).grad, 2 * gradient)
