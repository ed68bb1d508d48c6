"""The sender by hand, with time that passes only where somebody waits."""

import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from stages.common.tracking.spool.sender import Sender
from stages.common.tracking.spool.sending import ANSWER_PATIENCE_S, patience_for
from tests.support.tracking.mlflow_fake import AWAY, REVOKED, FakeMlflow, nothing
from tests.unit.stages.common.tracking.opened import Clock
from tests.unit.stages.common.tracking.spool.made import POINTS, fill, to, write


class SenderSetup:
    """A filled spool, a fake server, and a sender whose attempts are made by who waits, one a second."""

    def __init__(self, folder: Path) -> None:
        self.now_s, self.fake = 0.0, FakeMlflow()
        self.writer = write(folder / "outbox")
        fill(self.writer)
        self.sender = Sender(self.writer.spool, to(self.fake, folder / "outbox"), clock=lambda: self.now_s)
        self.sender._thread = SimpleNamespace(is_alive=lambda: True)  # type: ignore[assignment]
        self.latency_s = 0.0
        self.attempts = True

    def sleep(self, pause_s: float) -> None:
        before = self.now_s
        self.now_s += pause_s
        if self.attempts and int(self.now_s) > int(before) and not self.sender._is_done():
            self.sender.attempt()

    def fault(self, error: Exception | None) -> None:
        def ask(_what: str) -> None:
            self.now_s += self.latency_s
            if error is not None:
                raise error

        self.fake.before = nothing if error is None and not self.latency_s else ask


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SenderSetup:
    Clock(monkeypatch)
    return SenderSetup(tmp_path)


def test_all_is_sent_to_a_server_that_answers(bench: SenderSetup) -> None:
    outcome = bench.sender.settle(lambda: False, sleep=bench.sleep)
    assert outcome.is_sent
    assert sorted(bench.fake.points(bench.sender.run_id)) == POINTS


def test_a_server_with_a_long_latency_is_waited_for_as_long_as_it_answers(bench: SenderSetup) -> None:
    """Ten seconds an answer are minutes in all, and no reason to give up."""
    bench.latency_s = 10.0
    bench.fault(None)
    assert bench.sender.settle(lambda: False, sleep=bench.sleep).is_sent
    assert bench.now_s > 2 * ANSWER_PATIENCE_S


@pytest.mark.parametrize("error", [AWAY, REVOKED, None], ids=["dead", "revoked", "black hole"])
def test_without_an_answer_the_wait_is_bounded(bench: SenderSetup, error: Exception | None) -> None:
    """The spool keeps everything; why is said where the server said anything."""
    bench.attempts = error is not None
    bench.fault(error)
    outcome = bench.sender.settle(lambda: False, sleep=bench.sleep)
    assert not outcome.is_sent
    assert (outcome.failure is None) is (error is None)
    assert ANSWER_PATIENCE_S <= bench.now_s < ANSWER_PATIENCE_S + 2


def test_a_request_to_stop_ends_the_wait_at_once(bench: SenderSetup) -> None:
    bench.fault(AWAY)
    assert not bench.sender.settle(lambda: bench.now_s > 1, sleep=bench.sleep).is_sent
    assert bench.now_s < 3


def test_a_large_file_has_the_time_that_a_slow_line_takes() -> None:
    """A network of 300 MB goes up without an answer in between."""
    assert patience_for(0) == ANSWER_PATIENCE_S
    assert patience_for(300_000_000) >= 300


def test_each_kind_of_failure_is_said_once_and_its_end_too(
    bench: SenderSetup, capsys: pytest.CaptureFixture[str]
) -> None:
    """An outage of hours is two lines, not one for each attempt; credentials do not show."""
    for error, times in ((AWAY, 5), (REVOKED, 5), (None, 1)):
        bench.fault(error)
        for _ in range(times):
            bench.sender.attempt()
    said = capsys.readouterr().out
    assert said.count("the work continues") == 2
    assert said.count("answers again") == 1
    assert "u:p" not in said


def test_who_adds_never_waits_for_the_server(tmp_path: Path) -> None:
    """While a question hangs, points are kept; they arrive when it is answered."""
    asked, answer, fake = threading.Event(), threading.Event(), FakeMlflow()

    def hang(_what: str) -> None:
        asked.set()
        answer.wait()

    fake.before = hang
    writer = write(tmp_path / "outbox")
    sender = Sender(writer.spool, to(fake, tmp_path / "outbox"))
    writer._added = sender.added
    sender.start()
    writer.add_points({"loss": 1.0}, 0, 1)
    asked.wait()
    for step in range(1, 50):
        writer.add_points({"loss": 1.0}, step, 1)
    assert fake.runs == {}
    answer.set()
    assert sender.settle(lambda: False).is_sent
    sender.close()
    assert [step for _, step, _ in fake.points(sender.run_id)] == list(range(50))
    assert not sender._thread.is_alive()


def test_a_spool_that_somebody_else_sends_is_left_to_them(bench: SenderSetup) -> None:
    """`capillary sync` is at it: the next attempt comes later."""
    lock = bench.writer.spool.lock("sender")
    assert lock is not None
    assert not bench.sender.attempt()
    assert bench.fake.runs == {}
    lock.close()
    assert bench.sender.attempt()
