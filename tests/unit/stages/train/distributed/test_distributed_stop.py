import multiprocessing
import signal
import threading
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
import torch

from stages.common.errors import CapillaryError, DataError, ExitCode
from stages.common.monitoring.memory_guard import Crossing, MemoryGuard
from stages.common.runtime import Compute, Rendezvous
from stages.train.distributed.stop import RelayedInterrupt, StopChannel, live_and_die_with_parent, relaying
from stages.train.launch import usable_processes
from stages.train.resuming.interrupt import Interrupt
from tests.unit.stages.train.tiny import runtime_in


def _wait_until_asked(interrupt: Interrupt) -> None:
    while not interrupt.asked:
        threading.Event().wait(0.01)


def test_a_signal_of_the_supervisor_reaches_a_worker_with_its_name_and_exit_code() -> None:
    """What the user reads does not depend on which process says it."""
    own = Interrupt()
    with relaying(own) as board:
        worker = RelayedInterrupt(board)
        assert not worker.asked
        own.received = signal.SIGTERM
        _wait_until_asked(worker)
    assert worker.request is not None
    error = worker.request.error("after epoch 3, step 1")
    assert error.code is ExitCode.TERMINATED
    assert "stopped by SIGTERM after epoch 3, step 1" in error.what


def test_a_crossed_memory_limit_reaches_a_worker_with_its_numbers() -> None:
    """The guard measures all processes, so it is the supervisor's."""
    guard = MemoryGuard()
    with relaying(Interrupt(guard)) as board:
        worker = RelayedInterrupt(board)
        guard.crossing = Crossing(limit_gb=1.5, measured_gb=1.625)
        _wait_until_asked(worker)
    assert worker.request is not None
    error = worker.request.error("after epoch 1, step 0")
    assert error.code is ExitCode.MEMORY
    assert "1.62 GB resident, the limit is 1.5 GB" in str(error.value)


def test_a_rank_that_looked_before_the_signal_came_says_what_the_one_that_looked_after_it_says() -> None:
    """A request of any rank counts for all: another may have looked just before."""
    board, own = StopChannel(), Interrupt()
    lead, follower = RelayedInterrupt(board), RelayedInterrupt(board)
    assert not follower.asked
    own.received = signal.SIGTERM
    board.post(own)
    assert lead.asked
    assert follower.request == lead.request


def _fail(board: StopChannel) -> None:
    board.report(DataError("the volume is gone", remedy="bring it back", value="volume_1"))
    board.lead_is_done()


def test_a_workers_report_arrives_whole_and_another_one_that_waits_for_it_goes_on() -> None:
    """Across real processes, with its kind, value and remedy: the supervisor raises it as its own."""
    board = StopChannel()
    assert board.reported() is None
    process = multiprocessing.get_context("fork").Process(target=_fail, args=(board,))
    process.start()
    board.wait_for_lead(30)
    process.join(30)
    error = board.reported()
    assert isinstance(error, DataError)
    assert (error.what, error.remedy, error.value) == ("the volume is gone", "bring it back", "volume_1")


def test_a_board_keeps_what_was_asked_last_and_says_nothing_before() -> None:
    """Neither request is made up, and one does not hide the other."""
    board, guard = StopChannel(), MemoryGuard()
    own = Interrupt(guard)
    board.post(own)
    assert (board.received, board.crossing) == (None, None)
    guard.crossing = Crossing(limit_gb=1.5, measured_gb=1.625)
    board.post(own)
    assert (board.received, board.crossing) == (None, guard.crossing)
    own.received = signal.SIGINT
    board.post(own)
    assert (board.received, board.crossing) == (signal.SIGINT, guard.crossing)


def test_the_relay_ends_with_its_block() -> None:
    """No thread is left, after an error neither."""
    before = threading.active_count()
    with relaying(Interrupt()):
        assert threading.active_count() == before + 1
    with pytest.raises(OSError, match="full"), relaying(Interrupt()):
        raise OSError("full")
    assert threading.active_count() == before


def test_of_several_reports_the_first_is_the_reason() -> None:
    """The others follow from it."""
    board = StopChannel()
    for what in ("the disk is full", "rank 0 is gone"):
        board.report(DataError(what, remedy="x"))
    error = board.reported()
    assert error is not None
    assert error.what == "the disk is full"


def _worker(line: Connection) -> None:
    live_and_die_with_parent()
    line.send(signal.getsignal(signal.SIGINT) is signal.SIG_IGN)
    threading.Event().wait()


def _parent(line: Connection) -> None:
    multiprocessing.get_context("fork").Process(target=_worker, args=(line,)).start()
    threading.Event().wait()


def test_a_worker_ends_with_its_parent_however_that_ends_and_leaves_ctrl_c_to_it() -> None:
    """Killed by force, the parent can end nobody: a worker that went on would hold the GPU and the cell."""
    fork = multiprocessing.get_context("fork")
    read, write = fork.Pipe(duplex=False)
    parent = fork.Process(target=_parent, args=(write,))
    parent.start()
    write.close()
    assert read.recv(), "Ctrl-C is ignored"
    parent.kill()
    parent.join()
    assert read.poll(60), "the worker still holds its end of the line"
    with pytest.raises(EOFError):
        read.recv()


@pytest.mark.parametrize(("wanted", "batch_size", "usable"), [(1, 4, 1), (2, 4, 2), (8, 3, 3)])
def test_there_are_not_more_processes_than_a_batch_has_patches(
    tmp_path: Path, wanted: int, batch_size: int, usable: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """A process without a patch would have nothing to do; the user is told."""
    runtime = runtime_in(tmp_path, Compute(device="cpu", processes=wanted))
    assert usable_processes(runtime, batch_size) == usable
    said = capsys.readouterr().out
    assert said == ("" if usable == wanted else "3 processes instead of 8: there are no more patches in a batch\n")


@pytest.mark.parametrize(("wanted", "batch_size", "usable"), [(4, 4, 4), (4, 3, 2), (8, 5, 4)])
def test_each_of_two_nodes_has_as_many_processes(tmp_path: Path, wanted: int, batch_size: int, usable: int) -> None:
    """Each has a patch for every one of its processes."""
    compute = Compute(device="cpu", processes=wanted, nodes=2)
    runtime = replace(runtime_in(tmp_path, compute), rendezvous=Rendezvous(node=1, host="n1", port=29400))
    assert usable_processes(runtime, batch_size) == usable
    with pytest.raises(CapillaryError, match="a batch of 1 patch cannot be shared by 2 nodes"):
        usable_processes(runtime, 1)


@pytest.mark.parametrize(
    ("wanted", "gpus", "usable", "limit"),
    [(4, 2, 2, "GPUs"), (4, 8, 3, "patches in a batch"), (3, 3, 3, None), (1, 2, 1, None)],
)
def test_there_are_not_more_processes_than_gpus(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    wanted: int,
    gpus: int,
    usable: int,
    limit: str | None,
) -> None:
    """Two processes on one GPU would share its memory; the user is told which of the two is too few."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert usable_processes(runtime_in(tmp_path, Compute(processes=wanted)), 3) == usable
    said = capsys.readouterr().out
    assert said == ("" if limit is None else f"{usable} processes instead of {wanted}: there are no more {limit}\n")
