"""The training loop. Everything that changes is in the state; everything fixed is in the setup."""

import copy
import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from statistics import median

import torch

from stages.common.epoch_line import EpochLine, format_epoch
from stages.common.errors import CapillaryError, ExitCode
from stages.common.imaging.volumes import Volume
from stages.common.monitoring.process_memory import ProcessTree
from stages.common.program.messages import get_logger
from stages.common.program.progress import progress
from stages.train.distributed.ranks import ALONE, Ranks
from stages.train.loop.history import EpochRecord
from stages.train.loop.schedule import Schedule
from stages.train.loop.state import Best, Tally, TrainingState
from stages.train.loop.step import StepSkipped, StepTaken, take_step
from stages.train.loop.validate import Tile, validation_dsc
from stages.train.losses import Loss
from stages.train.params import TrainingParams
from stages.train.resuming.background import Saver
from stages.train.resuming.interrupt import Interrupt
from stages.train.sampling.loading import Batch

log = get_logger(__name__)

MOST_NONFINITE_IN_ROW = 10


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What a training works with. `batches` gives this rank's share of every batch from a global step on.

    `tree` is all the training's processes.
    """

    params: TrainingParams
    schedule: Schedule
    loss: Loss
    batches: Callable[[int], Iterator[Batch]]
    validation: list[Volume]
    tiles: list[Tile]
    checkpoints: Saver
    interrupt: Interrupt
    device: torch.device
    log: Callable[[EpochRecord], None]
    ranks: Ranks = ALONE
    tree: ProcessTree = field(default_factory=ProcessTree)


def run_training(setup: Setup, state: TrainingState) -> None:
    """Train until `max_epochs` are finished, from wherever `state` is.

    A finished epoch is on its way to the checkpoint before it is logged. A killed run may have one of the two without
    the other: a run that continues logs what is missing, and each point once (stages/common/tracking/runs.py).
    Raises CapillaryError when asked to stop (after writing a checkpoint) and when steps stay non-finite.
    """
    params = setup.params
    batches = setup.batches(state.epoch * params.steps_per_epoch + state.tally.steps_done)
    with progress("epoch", total=params.max_epochs, done=state.epoch) as shown:
        for epochs_here in itertools.count(1):
            if state.epoch == params.max_epochs:
                return
            _train_epoch(setup, state, batches)
            dsc = _validate_if_due(setup, state)
            record = _close_epoch(setup, state, dsc)
            setup.checkpoints.save(state.as_dict())
            setup.log(record)
            line = _epoch_line(record, params, _remaining_s(state, params, epochs_here), setup.tree)
            shown.advance(_brief(line), format_epoch(line), line)
            _stop_if_asked(setup, state)


def _train_epoch(setup: Setup, state: TrainingState, batches: Iterator[Batch]) -> None:
    """The steps that the epoch at hand still lacks."""
    started = time.monotonic()
    seconds_before = state.tally.seconds
    state.network.train()
    while state.tally.steps_done < setup.params.steps_per_epoch:
        step = state.epoch * setup.params.steps_per_epoch + state.tally.steps_done
        batch = next(batches).to(setup.device)
        rate, loss = setup.schedule.learning_rate(step), setup.loss.at(step / setup.schedule.total_steps)
        result = take_step(state, batch, loss, rate, setup.params.grad_clip_norm, setup.ranks)
        state.tally.steps_done += 1
        state.tally.seconds = seconds_before + time.monotonic() - started
        if isinstance(result, StepTaken):
            state.tally.steps_taken += 1
            state.tally.loss_sum += result.loss
            state.tally.gradient_norm_sum += result.gradient_norm
            state.nonfinite_in_row = 0
        elif isinstance(result, StepSkipped):
            _note_skip(state, result.fault, setup.ranks.gather_names(batch.ids))
        _stop_if_asked(setup, state)


def _note_skip(state: TrainingState, fault: str, volumes: list[str]) -> None:
    state.tally.nonfinite_steps += 1
    state.nonfinite_in_row += 1
    where = f"epoch {state.epoch + 1}, step {state.tally.steps_done}, volumes {', '.join(volumes)}"
    log.warning(f"step skipped, weights unchanged: {fault} ({where})")
    if state.nonfinite_in_row >= MOST_NONFINITE_IN_ROW:
        raise CapillaryError(
            f"{state.nonfinite_in_row} steps in a row were not finite: {fault} ({where})",
            remedy="lower training.learning_rate, set training.precision to fp32, or check the volumes named above",
            code=ExitCode.UNEXPECTED,
        )


def _validate_if_due(setup: Setup, state: TrainingState) -> float | None:
    number = state.epoch + 1
    due = number % setup.params.validation_interval == 0 or number == setup.params.max_epochs
    if not due:
        return None
    return validation_dsc(
        state.network,
        setup.validation,
        setup.tiles,
        setup.params,
        state.precision.autocast_dtype,
        between_tiles=lambda: _stop_if_asked(setup, state),
        ranks=setup.ranks,
    )


def _close_epoch(setup: Setup, state: TrainingState, dsc: float | None) -> EpochRecord:
    tally, params = state.tally, setup.params
    last_step = (state.epoch + 1) * params.steps_per_epoch - 1
    record = EpochRecord(
        epoch=state.epoch + 1,
        loss=tally.loss_sum / tally.steps_taken if tally.steps_taken else None,
        learning_rate=setup.schedule.learning_rate(last_step),
        gradient_norm=tally.gradient_norm_sum / tally.steps_taken if tally.steps_taken else None,
        nonfinite_steps=tally.nonfinite_steps,
        validation_dsc=dsc,
        seconds=tally.seconds,
    )
    if dsc is not None and (state.best is None or dsc > state.best.validation_dsc):
        # deepcopy keeps tensors shared that the state dict lists under two names
        state.best = Best(epoch=record.epoch, validation_dsc=dsc, weights=copy.deepcopy(state.network.state_dict()))
    state.history.append(record)
    state.epoch += 1
    state.tally = Tally()
    return record


def _stop_if_asked(setup: Setup, state: TrainingState) -> None:
    if not setup.ranks.any_asks(setup.interrupt.asked):
        return

    def write() -> None:
        setup.checkpoints.save(state.as_dict())
        setup.checkpoints.wait()

    setup.ranks.once(write)  # no rank says that the checkpoint is written before it is
    request = setup.ranks.first(setup.interrupt.request)
    raise request.error(f"after epoch {state.epoch}, step {state.tally.steps_done}")


def _remaining_s(state: TrainingState, params: TrainingParams, epochs_here: int) -> float:
    """By the middle one of the last epochs: the machine may have slept during one of them."""
    recent = [record.seconds for record in state.history[-min(epochs_here, 10) :]]
    return (params.max_epochs - state.epoch) * median(recent)


def _epoch_line(record: EpochRecord, params: TrainingParams, remaining_s: float, tree: ProcessTree) -> EpochLine:
    skipped = f", {record.nonfinite_steps} steps skipped" if record.nonfinite_steps else ""
    return EpochLine(
        epoch=record.epoch,
        epochs=params.max_epochs,
        loss=record.loss,
        validation_dsc=record.validation_dsc,
        remaining_s=remaining_s,
        rss_gb=tree.rss_gb(),
        notes=f"lr {record.learning_rate:.1e}, {record.seconds:.1f} s/epoch{skipped}",
    )


def _brief(line: EpochLine) -> str:
    """For a bar, which counts epochs and time by itself."""
    loss = "none" if line.loss is None else f"{line.loss:.4f}"
    return f"loss {loss}" if line.validation_dsc is None else f"loss {loss} validation DSC {line.validation_dsc:.4f}"
