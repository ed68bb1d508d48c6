import copy

import pytest
import torch

from stages.train.computing.precision import Decision
from stages.train.computing.switches import Switches
from stages.train.loop.state import TrainingState
from stages.train.loop.step import ScaleLowered, StepSkipped, StepTaken, take_step
from stages.train.losses import build_loss
from stages.train.sampling.loading import Batch
from tests.unit.stages.train.tiny import random_batch

LOSS = build_loss("dice_ce")
SHAPE = (4, 8, 8)


def _state(scaled: bool = False, precision: str = "fp32") -> TrainingState:
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv3d(1, 4, 3, padding=1), torch.nn.Conv3d(4, 2, 3, padding=1))
    return TrainingState(
        network=network,
        optimizer=torch.optim.AdamW(network.parameters(), lr=0.1),
        scaler=torch.amp.GradScaler("cpu", enabled=scaled),
        precision=Decision(name=precision, reason="", machine=""),
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


def test_a_second_step_starts_from_a_gradient_of_zero_and_has_its_own_learning_rate() -> None:
    """Nothing of the step before is left but the optimiser's moments."""
    state, batch = _state(), random_batch(SHAPE)
    network = copy.deepcopy(state.network)
    plain = torch.optim.AdamW(network.parameters(), lr=0.01)
    for rate in (0.01, 0.002):
        plain.param_groups[0]["lr"] = rate
        plain.zero_grad()
        LOSS(network(batch.image), batch.label, batch.skeleton).backward()
        plain.step()
        take_step(state, batch, LOSS, learning_rate=rate, grad_clip_norm=1e9)
    torch.testing.assert_close(state.network.state_dict(), network.state_dict(), rtol=0, atol=0)


def test_with_fp16_scaling_a_step_is_the_step_without_it() -> None:
    """The scale is gone from the gradient before its norm is taken and clipped."""
    plain, scaled, batch = _state(), _state(scaled=True), random_batch(SHAPE)
    results = [_step(state, batch, clip=0.1) for state in (plain, scaled)]
    assert isinstance(results[0], StepTaken)
    assert isinstance(results[1], StepTaken)
    assert results[1].gradient_norm == pytest.approx(results[0].gradient_norm, rel=1e-5)
    torch.testing.assert_close(scaled.network.state_dict(), plain.network.state_dict(), rtol=1e-5, atol=1e-7)


def test_a_step_computes_in_the_trainings_arithmetic_and_as_many_patches_at_a_time_as_its_switches_say() -> None:
    """bf16 under autocast; a micro-batch of one."""
    state, seen = _state(precision="bf16"), set()
    state.switches = Switches(micro_batch=1)

    def note(_network: torch.nn.Module, given: tuple[torch.Tensor]) -> None:
        seen.add((torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu"), len(given[0])))

    state.network.register_forward_pre_hook(note)
    assert isinstance(_step(state, random_batch(SHAPE, size=3)), StepTaken)
    assert seen == {(True, torch.bfloat16, 1)}


def test_a_gradient_whose_norm_alone_overflows_is_skipped() -> None:
    """Every number of it is finite, their squares are not."""
    state = _state()
    before = _snapshot(state)
    for parameter in state.network.parameters():
        parameter.register_hook(lambda gradient: torch.full_like(gradient, 1e30))
    result = _step(state, random_batch(SHAPE))
    assert isinstance(result, StepSkipped)
    assert "norm" in result.fault
    _assert_unchanged(state, before)


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
