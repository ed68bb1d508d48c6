"""One training from its volumes to a registered model: what happens around the training loop."""

import os

from stages.common.monitoring.process_memory import ProcessTree
from stages.common.runtime import Runtime
from stages.common.tracking.cards.card import ModelCard
from stages.common.tracking.runs import TrackedRun
from stages.train.cell import Cell
from stages.train.distributed.ranks import ALONE, Ranks
from stages.train.loop.engine import Setup, run_training
from stages.train.loop.history import EpochRecord
from stages.train.loop.schedule import plan_schedule
from stages.train.loop.validate import tiles_of_volumes
from stages.train.part import RankSetup, set_up_rank, start_or_resume
from stages.train.record import recorded, register
from stages.train.resuming.background import BackgroundCheckpoints, NoCheckpoints, Saver
from stages.train.resuming.checkpoint import Checkpoints
from stages.train.resuming.interrupt import Interrupt, listening
from stages.train.resuming.lock import cell_lock
from stages.train.sampling.loading import batches

# A patch costs 2 to 3 ms and a CPU training's step uses every core anyway: loader processes would only compete with it.
WORKERS_ON_CPU = 0


def train_cell(cell: Cell, runtime: Runtime) -> tuple[ModelCard, list[EpochRecord]]:
    """Train `cell` in this process alone, or finish what an earlier one began, and register its last epoch's model.

    The last epoch's, never the best one's: the fold that is reported must not choose its own model.
    """
    with cell_lock(runtime.state_dir), listening(runtime.monitoring.memory_abort_gb) as interrupt:
        return lead(cell, runtime, interrupt)


def lead(
    cell: Cell, runtime: Runtime, interrupt: Interrupt, ranks: Ranks = ALONE
) -> tuple[ModelCard, list[EpochRecord]]:
    """Rank 0's part of a training: it computes its share, and alone keeps checkpoints, records and registers."""
    part = set_up_rank(cell, runtime, interrupt, ranks)
    files = Checkpoints(runtime.state_dir, _identity(cell, runtime))
    with BackgroundCheckpoints(files) as checkpoints:
        state = start_or_resume(part, files.load)
        with recorded(cell, runtime, state, part.device, lambda: interrupt.asked) as run:
            run_training(_set_up(part, checkpoints, run), state)
            checkpoints.wait()  # a training that could not keep its last epoch is not registered first
            card = register(cell, runtime, state, run)
    return card, state.history


def follow(cell: Cell, runtime: Runtime, interrupt: Interrupt, ranks: Ranks) -> None:
    """Any other rank's part of a training: it computes its share and leaves the rest to rank 0."""
    part = set_up_rank(cell, runtime, interrupt, ranks)
    state = start_or_resume(part, lambda: None)
    run_training(_set_up(part, NoCheckpoints(), None), state)


def _identity(cell: Cell, runtime: Runtime) -> dict[str, object]:
    """Whose a checkpoint is. The fingerprint tells it all, except for a stage that was started by hand."""
    params = {f"training.{key}": value for key, value in cell.params.model_dump(mode="json").items()}
    data = {"data/processed": cell.data_sha256}
    return {"fingerprint": runtime.fingerprint, "loss": cell.loss, "fold": cell.fold, **data, **params}


def _set_up(part: RankSetup, checkpoints: Saver, run: TrackedRun | None) -> Setup:
    params, ranks, on_gpu = part.cell.params, part.ranks, part.device.type == "cuda"
    workers = part.runtime.workers if on_gpu else WORKERS_ON_CPU

    def log(record: EpochRecord) -> None:
        if run is not None:
            run.log_metrics(record.points(), step=record.epoch)

    return Setup(
        params=params,
        schedule=plan_schedule(params),
        loss=part.loss,
        batches=lambda first_step: batches(part.dataset, params, first_step, workers, pin_memory=on_gpu, ranks=ranks),
        validation=part.cell.validation,
        tiles=tiles_of_volumes(part.cell.validation, params),
        checkpoints=checkpoints,
        interrupt=part.interrupt,
        device=part.device,
        log=log,
        ranks=ranks,
        tree=ProcessTree(None if ranks.size == 1 else os.getppid()),
    )
