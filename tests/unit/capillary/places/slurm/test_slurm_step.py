"""The other nodes of a job, whose step ends in one way or another."""

import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from capillary.lifetimes.stop import Stop, listening
from capillary.places.node.others import peer_folder
from capillary.places.outcome import Ended, write_ended
from capillary.places.slurm import queue, step
from capillary.places.slurm.step import Step
from stages.common.errors import ExitCode

Start = Callable[[str], Step]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    """The other node of a job, on which a program runs instead of the stage."""
    monkeypatch.setattr(step, "NOTICE_S", 0.05)
    monkeypatch.setattr(step, "PATIENCE_S", 0.2)
    monkeypatch.setattr(queue, "nodes_of_job", lambda: ["n1", "n2"])
    monkeypatch.setattr(queue, "address_of", lambda _node: "127.0.0.1")

    def start(program: str) -> Step:
        monkeypatch.setattr(step, "step_argv", lambda *_: [sys.executable, "-c", program])
        return Step(tmp_path, 2, 1)

    return start


def _leave(folder: Path, code: int) -> None:
    peer_folder(folder, 1).mkdir(parents=True)
    write_ended(peer_folder(folder, 1), Ended(code=code, node="n2", started=1.0, ended=2.0))


def test_both_nodes_meet_at_the_first(start: Start) -> None:
    """And the job's exit code is the stage's when it ended well."""
    other = start("")
    meeting = other.start(Stop())
    assert (meeting.node, meeting.host, meeting.interface) == (0, "127.0.0.1", "lo")
    assert other.joined(0) == 0


@pytest.mark.parametrize(
    ("left", "code"), [(ExitCode.RANK_LOST, ExitCode.RANK_LOST), (ExitCode.DATA, ExitCode.DATA), (None, 12)]
)
def test_what_the_other_node_says_is_the_reason_of_a_loss(
    start: Start, tmp_path: Path, left: int | None, code: int
) -> None:
    """This one only saw that it was gone."""
    other = start("")
    other.start(Stop())
    if left is not None:
        _leave(tmp_path, left)
    assert other.joined(ExitCode.RANK_LOST) == code


def test_a_stage_that_waits_for_a_node_in_vain_is_ended(start: Start, tmp_path: Path) -> None:
    """It is no request of anybody: the other node's reason counts, and the job does not return to the queue."""
    _leave(tmp_path, ExitCode.MACHINE)
    with listening() as stop:
        other = start("raise SystemExit(6)")
        other.start(stop)
        deadline = time.monotonic() + 30
        while stop.asked is None and time.monotonic() < deadline:
            time.sleep(0.01)
        assert other.joined(143) == ExitCode.MACHINE
        assert stop.asked is None


def test_a_stage_does_not_wait_for_nodes_that_never_began(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """srun may refuse to start them, as Slurm did after a node had come back; another attempt finds them."""
    monkeypatch.setattr(step, "NOTICE_S", 60.0)
    with listening() as stop:
        other = start("raise SystemExit(1)")
        other.start(stop)
        deadline = time.monotonic() + 30
        while stop.asked is None and time.monotonic() < deadline:
            time.sleep(0.01)
        assert stop.asked is not None
        assert other.joined(143) == ExitCode.RANK_LOST


def test_a_node_that_does_not_end_is_ended(start: Start) -> None:
    """Nothing works on when the job is over."""
    other = start("import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)")
    other.start(Stop())
    began = time.monotonic()
    assert other.joined(0) == 0
    assert time.monotonic() - began < 20
