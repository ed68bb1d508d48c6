import copy

import pytest
import torch

from stages.train.computing.precision import Decision
from stages.train.loop.state import TrainingState
from stages.train.loop.step import ScaleLowered, StepSkipped, StepTaken, take_step
from stages.train.losses import build_loss
from stages.train.sampling.loading import Batch
from tests.unit.stages.train.tiny import random_batch

LOSS = build_loss("dice_ce")
SHAPE = (4, 8, 8)


def _state(scaled: bool = False) -> TrainingState:
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv3d(1, 4, 3, padding=1), torch.nn.Conv3d(4, 2, 3, padding=1))
    return TrainingState(
        network=network,
        optimizer=torch.optim.AdamW(network.parameters(), lr=0.1),
        scaler=torch.amp.GradScaler("cpu", enabled=scaled),
        precision=Decision(name="fp32", reason="", machine=""),
    )


def _step(state: TrainingState, batch: Batch, clip: float = 12.0) -> object:
    return take_step(state, batch, LOSS, learning_rate=0.01, grad_clip_norm=clip)


def _snapshot(state: TrainingState) -> tuple[object, object]:
    return copy.deepcopy(state.network.state_dict()), copy.deepcopy(state.optimizer.state_dict())


def _assert_unchanged(state: TrainingState, before: tuple[object, object]) -> None:
    torch.testing.assert_close(_snapshot(state)[0], before[0], rtol=0, atol=0)
    torch.testing.assert_close(_snapshot(state)[1]["state"], before[1]["state"], rtol=0, atol=0)  # type: ignore[index]  # a state dict


def test_a_step_equals_plain_clipping_and_adamw() -> None:
    """Compared with torch's own clip_grad_norm_ and optimizer on a copy of the network."""
    state, batch = _state(), random_batch(SHAPE)
    network = copy.deepcopy(state.network)
    plain = torch.optim.AdamW(network.parameters(), lr=0.01)
    loss = LOSS(network(batch.image), batch.label, batch.skeleton)
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(network.parameters(), 0.1)
    plain.step()

    assert _step(state, batch, clip=0.1) == StepTaken(loss=loss.item(), gradient_norm=norm.item())
    torch.testing.assert_close(state.network.state_dict(), network.state_dict(), rtol=0, atol=0)


def test_a_batch_with_nan_is_skipped_before_the_optimizer_and_the_next_step_goes_on() -> None:
    """Weights and moments are untouched by a non-finite loss; the training survives."""
    state, batch = _state(), random_batch(SHAPE)
    assert isinstance(_step(state, batch), StepTaken)
    before = _snapshot(state)
    bad = random_batch(SHAPE)
    bad.image[0, 0, 1, 1, 1] = float("nan")
    assert _step(state, bad) == StepSkipped(fault="the loss is nan")
    _assert_unchanged(state, before)
    assert isinstance(_step(state, batch), StepTaken)


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_a_non_finite_gradient_is_named_by_its_parameter_and_skipped(poison: float) -> None:
    """The loss is finite, one gradient is not: that parameter is named."""
    state, batch = _state(), random_batch(SHAPE)
    assert isinstance(_step(state, batch), StepTaken)
    before = _snapshot(state)
    hook = state.network[1].weight.register_hook(lambda gradient: gradient * poison)  # type: ignore[index]  # a Sequential
    assert _step(state, batch) == StepSkipped(fault="the gradient of 1.weight is not finite")
    _assert_unchanged(state, before)
    hook.remove()
    assert isinstance(_step(state, batch), StepTaken)


def test_with_fp16_scaling_an_overflow_lowers_the_scale_first_and_is_a_fault_at_scale_one() -> None:
    """GradScaler's search for a scale is not counted as a fault; what overflows without scaling is."""
    state, batch = _state(scaled=True), random_batch(SHAPE)
    state.network[1].weight.register_hook(lambda gradient: gradient * float("inf"))  # type: ignore[index]  # a Sequential
    before, scale = _snapshot(state), state.scaler.get_scale()
    results = [_step(state, batch) for _ in range(20)]
    assert results[0] == ScaleLowered()
    assert isinstance(results[-1], StepSkipped)
    assert state.scaler.get_scale() < 1 < scale
    _assert_unchanged(state, before)
