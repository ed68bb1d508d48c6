"""A tiny training in this process, and what may happen to its batches."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from stages.common.runtime import Compute
from stages.train.cell import plan_cell
from stages.train.distributed.ranks import ALONE
from stages.train.loop.engine import Setup, run_training
from stages.train.loop.history import EpochRecord
from stages.train.loop.schedule import plan_schedule
from stages.train.loop.state import TrainingState
from stages.train.loop.validate import plan_tiles
from stages.train.losses import build_loss
from stages.train.params import TrainingParams
from stages.train.part import RankSetup, start_or_resume
from stages.train.resuming.background import BackgroundCheckpoints
from stages.train.resuming.checkpoint import Checkpoints
from stages.train.resuming.interrupt import Interrupt
from stages.train.sampling.loading import Batch, PatchDataset, batches, first_batch
from tests.unit.stages.train.tiny import runtime_in

CPU = torch.device("cpu")
BY_HAND = Compute()
EachBatch = Callable[[int, Batch, Interrupt], None]


class TinyTraining:
    """A tiny training in this process; `each_batch(step, batch, interrupt)` sees every batch before it is used."""

    def __init__(
        self,
        processed: Path,
        state_dir: Path,
        params: TrainingParams,
        each_batch: EachBatch | None = None,
        compute: Compute = BY_HAND,
        loss_name: str = "dice_ce",
    ):
        cell = plan_cell(processed, params, loss_name, 0)
        loss = build_loss(loss_name)
        dataset = PatchDataset(cell.training, params, needs_skeleton=loss.needs_skeleton)
        checkpoints = Checkpoints(state_dir, {"fingerprint": "test"})
        interrupt = Interrupt()

        def watched(first_step: int) -> Iterator[Batch]:
            for step, batch in enumerate(batches(dataset, params, first_step, workers=0), start=first_step):
                if each_batch is not None:
                    each_batch(step, batch, interrupt)
                yield batch

        self.logged: list[EpochRecord] = []
        part = RankSetup(
            cell=cell,
            runtime=runtime_in(state_dir, compute),
            loss=loss,
            dataset=dataset,
            batch=first_batch(dataset, params),
            interrupt=interrupt,
            device=CPU,
            ranks=ALONE,
        )
        self.state: TrainingState = start_or_resume(part, checkpoints.load)
        self.checkpoints = BackgroundCheckpoints(checkpoints)
        self.setup = Setup(
            params=params,
            schedule=plan_schedule(params),
            loss=loss,
            batches=watched,
            validation=cell.validation,
            tiles=plan_tiles([volume.shape_zyx for volume in cell.validation], params),
            checkpoints=self.checkpoints,
            interrupt=interrupt,
            device=CPU,
            log=self.logged.append,
        )

    def run(self) -> "TinyTraining":
        """Train to the end."""
        with self.checkpoints:
            run_training(self.setup, self.state)
        return self


def without_time(history: list[EpochRecord]) -> list[dict[str, object]]:
    """`history` as two equal trainings have it."""
    return [{**vars(record), "seconds": 0} for record in history]


def stop_at(step: int) -> EachBatch:
    """SIGTERM arrives before step number `step` of the training."""

    def each_batch(number: int, _batch: Batch, interrupt: Interrupt) -> None:
        if number == step:
            interrupt.received = signal.SIGTERM

    return each_batch


def poison(steps: set[int]) -> EachBatch:
    """A voxel of the batch is NaN in each of `steps`."""

    def each_batch(number: int, batch: Batch, _interrupt: Interrupt) -> None:
        if number in steps:
            batch.image[0, 0, 0, 0, 0] = float("nan")

    return each_batch
