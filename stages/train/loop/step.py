"""One step of the optimiser, taken only on finite numbers."""

import math
from dataclasses import dataclass

import torch
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from stages.train.computing.gradients import add_gradients
from stages.train.computing.precision import LossFunction
from stages.train.distributed.ranks import ALONE, Ranks
from stages.train.loop.state import TrainingState
from stages.train.sampling.loading import Batch


@dataclass(frozen=True, kw_only=True)
class StepTaken:
    """The loss of the step's batch and the norm of its gradient before clipping."""

    loss: float
    gradient_norm: float


@dataclass(frozen=True, kw_only=True)
class StepSkipped:
    """A step that was not taken, and what was not finite."""

    fault: str


@dataclass(frozen=True, kw_only=True)
class ScaleLowered:
    """fp16 only: the gradient overflowed, so its scale was lowered. How GradScaler works, not a fault."""


StepResult = StepTaken | StepSkipped | ScaleLowered


def take_step(
    state: TrainingState,
    batch: Batch,
    loss_function: LossFunction,
    learning_rate: float,
    grad_clip_norm: float,
    ranks: Ranks = ALONE,
) -> StepResult:
    """Forward, backward, check, clip, update. Neither weights nor optimizer change when anything is not finite.

    On several `ranks` all of them take the step or none.
    """
    state.optimizer.zero_grad(set_to_none=True)
    loss_value = add_gradients(
        state.network,
        batch,
        loss_function,
        autocast_dtype=state.precision.autocast_dtype,
        micro_batch=state.switches.micro_batch,
        scale=state.scaler.scale,
        ranks=ranks,
    )
    if not math.isfinite(loss_value):
        return StepSkipped(fault=f"the loss is {loss_value}")

    state.scaler.unscale_(state.optimizer)
    parameters = [parameter for parameter in state.network.parameters() if parameter.grad is not None]
    norm = get_total_norm([parameter.grad for parameter in parameters if parameter.grad is not None])
    gradient_norm = norm.item()
    if not math.isfinite(gradient_norm):
        return _skip(state)

    clip_grads_with_norm_(parameters, grad_clip_norm, norm)
    for group in state.optimizer.param_groups:
        group["lr"] = learning_rate
    state.scaler.step(state.optimizer)
    state.scaler.update()
    return StepTaken(loss=loss_value, gradient_norm=gradient_norm)


def _skip(state: TrainingState) -> StepSkipped | ScaleLowered:
    scale = state.scaler.get_scale()  # 1 where nothing is scaled
    state.scaler.update()
    if scale > 1:
        return ScaleLowered()
    for name, parameter in state.network.named_parameters():
        if parameter.grad is not None and not bool(torch.isfinite(parameter.grad).all()):
            return StepSkipped(fault=f"the gradient of {name} is not finite")
    return StepSkipped(fault="the norm of the gradient overflows")
