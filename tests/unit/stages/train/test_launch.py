import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.launcher.api import LaunchConfig

from stages.common.errors import CapillaryError, DataError, ExitCode
from stages.common.runtime import Compute
from stages.train import launch
from stages.train.cell import plan_cell
from stages.train.distributed.stop import StopChannel
from stages.train.launch import MOST_RESTARTS
from tests.unit.stages.train.tiny import runtime_in, tiny_params

Start = Callable[[StopChannel], Any]


@pytest.fixture
def train(processed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Start], Any]:
    """A training on two processes, each start of which does what it is given instead."""

    def with_starts(start: Start) -> Any:
        def launch_elastic(config: LaunchConfig, _work: object) -> Callable[..., dict[int, Any]]:
            assert (config.nproc_per_node, config.min_nodes, config.max_nodes, config.max_restarts) == (2, 1, 1, 0)
            return lambda _cell, _runtime, board: start(board)

        monkeypatch.setattr(launch, "elastic_launch", launch_elastic)
        monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
        cell = plan_cell(processed, tiny_params(), "dice_ce", 0)
        return launch.train(cell, runtime_in(tmp_path, Compute(device="cpu", processes=2)))

    return with_starts


def _died(exitcode: int = -signal.SIGKILL) -> ChildFailedError:
    return ChildFailedError("train", {1: ProcessFailure(local_rank=1, pid=1, exitcode=exitcode, error_file="")})


def test_after_a_new_start_rank_0_is_waited_for_again(train: Callable[[Start], Any]) -> None:
    """It was done when the former start ended; that says nothing about this one."""
    boards: list[StopChannel] = []

    def start(board: StopChannel) -> dict[int, Any]:
        assert board not in boards
        boards.append(board)
        if len(boards) == 1:
            board.lead_is_done()
            raise _died()
        return {0: "trained"}

    assert train(start) == "trained"
    assert len(boards) == 2


@pytest.mark.parametrize(("exitcode", "how"), [(-signal.SIGKILL, "by SIGKILL"), (3, "with exit code 3")])
def test_a_process_that_dies_again_and_again_ends_the_training_with_its_way_of_dying(
    train: Callable[[Start], Any], capsys: pytest.CaptureFixture[str], exitcode: int, how: str
) -> None:
    """Every new start is announced; one that dies each time would otherwise go on for ever."""
    starts = []

    def start(_board: StopChannel) -> dict[int, Any]:
        starts.append(1)
        raise _died(exitcode)

    with pytest.raises(CapillaryError) as caught:
        train(start)
    assert caught.value.code is ExitCode.MACHINE
    assert f"rank 1 ended {how}" in str(caught.value.value)
    assert len(starts) == MOST_RESTARTS + 1
    said = capsys.readouterr().out.splitlines()
    assert [f"rank 1 ended {how}" in line and f"({turn} of {MOST_RESTARTS} times)" in line
            for turn, line in enumerate(said, start=1)] == [True] * MOST_RESTARTS  # fmt: skip


def test_a_failure_that_a_process_reported_is_the_trainings_and_starts_nothing_again(
    train: Callable[[Start], Any],
) -> None:
    """A full disk is as full the second time."""

    def start(board: StopChannel) -> dict[int, Any]:
        board.report(DataError("the volume is gone", remedy="bring it back"))
        raise _died(1)

    with pytest.raises(DataError, match="the volume is gone"):
        train(start)


def test_one_process_trains_in_this_one(processed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is launched; the same cell and runtime are trained."""
    monkeypatch.setattr(launch, "train_cell", lambda cell, runtime: (cell, runtime))
    cell, runtime = plan_cell(processed, tiny_params(), "dice_ce", 0), runtime_in(tmp_path, Compute(device="cpu"))
    assert launch.train(cell, runtime) == (cell, runtime)
