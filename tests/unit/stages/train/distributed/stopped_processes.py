"""Two real processes that are asked to stop while the disk of rank 0 is slow, and what each of them says."""

import errno
import itertools
import os
import signal
import time
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from stages.train.distributed.ranks import Ranks
from stages.train.loop.engine import Setup, run_training
from stages.train.loop.schedule import plan_schedule
from stages.train.losses import build_loss
from stages.train.resuming.background import NoCheckpoints
from stages.train.resuming.interrupt import Interrupt
from tests.unit.stages.train.distributed.start import SIZE, start_two
from tests.unit.stages.train.distributed.two_processes import PATCHES, batch_of, fresh_state, params

DISK_S = 0.4


class _SlowDisk:
    """Rank 0's checkpoints: `file` is there some time after it was asked for, or the disk is full."""

    def __init__(self, file: Path, *, full: bool) -> None:
        self._file = file
        self._full = full

    def save(self, state: dict[str, Any]) -> None:
        """Nothing yet."""

    def wait(self) -> None:
        """The write."""
        time.sleep(DISK_S)
        if self._full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._file))
        self._file.touch()


def _process(rank: int, folder: Path, full: bool) -> None:
    torch.set_num_threads(1)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=SIZE)
    ranks = Ranks(rank=rank, size=SIZE, batch_size=PATCHES)
    interrupt, checkpoint = Interrupt(), folder / "checkpoint"
    interrupt.received = signal.SIGTERM
    setup = Setup(
        params=params(),
        schedule=plan_schedule(params()),
        loss=build_loss("dice_ce"),
        batches=lambda _first_step: itertools.repeat(batch_of(ranks.share())),
        validation=[],
        tiles=[],
        checkpoints=_SlowDisk(checkpoint, full=full) if ranks.leads else NoCheckpoints(),
        interrupt=interrupt,
        device=torch.device("cpu"),
        log=lambda _record: None,
        ranks=ranks,
    )
    try:
        run_training(setup, fresh_state())
    except Exception as error:  # noqa: BLE001 - which one it is, is what the test asks
        torch.save({"said": str(error), "written": checkpoint.exists()}, folder / f"{rank}.pt")


def stop(folder: Path, *, full: bool) -> list[dict[str, Any]]:
    """What each process said as it ended, and whether the checkpoint was there by then; rank 0 first."""
    start_two(_process, (folder, full))
    return [torch.load(folder / f"{rank}.pt") for rank in range(SIZE)]
