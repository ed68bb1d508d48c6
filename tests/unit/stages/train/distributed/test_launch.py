import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

from stages.common.runtime import Compute
from stages.train.cell import plan_cell
from stages.train.distributed import launch
from stages.train.distributed.stop import Board
from tests.unit.stages.train.distributed.stopped_processes import stop
from tests.unit.stages.train.tiny import runtime_in, tiny_params


def test_no_process_says_that_the_checkpoint_is_written_before_it_is(tmp_path: Path) -> None:
    """A follower has nothing to write, and waits for rank 0, whose disk is slow."""
    for rank in stop(tmp_path, full=False):
        assert rank["said"] == "stopped by SIGTERM after epoch 0, step 1; the checkpoint is written"
        assert rank["written"]


def test_a_checkpoint_that_cannot_be_written_is_what_is_said(tmp_path: Path) -> None:
    """Rank 0 says so; a follower only sees that it is gone."""
    lead, follower = stop(tmp_path, full=True)
    assert "No space left on device" in lead["said"]
    assert "checkpoint is written" not in follower["said"]


def test_after_a_new_start_rank_0_is_waited_for_again(
    processed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was done when the former start ended; that says nothing about this one."""
    waited_s: list[float] = []

    def start(_config: object, _work: object) -> Callable[..., dict[int, Any]]:
        def run(_cell: object, _runtime: object, board: Board) -> dict[int, Any]:
            began = time.monotonic()
            board.wait_for_lead(0.2)
            waited_s.append(time.monotonic() - began)
            board.lead_is_done()
            if len(waited_s) == 1:
                killed = ProcessFailure(local_rank=1, pid=1, exitcode=-signal.SIGKILL, error_file="")
                raise ChildFailedError("train", {1: killed})
            return {0: "trained"}

        return run

    monkeypatch.setattr(launch, "elastic_launch", start)
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    cell = plan_cell(processed, tiny_params(), "dice_ce", 0)
    assert launch.train(cell, runtime_in(tmp_path, Compute(device="cpu", processes=2))) == "trained"
    assert [seconds >= 0.2 for seconds in waited_s] == [True, True]
