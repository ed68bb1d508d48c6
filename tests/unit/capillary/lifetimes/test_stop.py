import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from capillary.lifetimes.stop import Stop, listening
from tests.support.parts import REPOSITORY

pytestmark = pytest.mark.usefixtures("default_signals")


@pytest.fixture
def stop() -> Iterator[Stop]:
    with listening() as stop:
        yield stop


def send(*numbers: signal.Signals) -> None:
    for number in numbers:
        os.kill(os.getpid(), number)


def time_left_s() -> float:
    """Of the grace period; 0 when none runs."""
    return signal.getitimer(signal.ITIMER_REAL)[0]


class Stage:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[signal.Signals] = []
        self.killed = 0

    def kill(self) -> None:
        self.killed += 1


def test_nobody_asked(stop: Stop) -> None:
    """Without a request the exit code is the stage's own."""
    assert stop.asked is None
    assert stop.exit_code == 0


@pytest.mark.parametrize(
    ("sent", "told", "code"),
    [
        ([signal.SIGINT], [signal.SIGINT], 130),
        ([signal.SIGTERM], [signal.SIGTERM], 143),
        ([signal.SIGHUP], [signal.SIGTERM], 143),
        ([signal.SIGINT, signal.SIGINT], [signal.SIGINT, signal.SIGINT], 130),
        ([signal.SIGHUP, signal.SIGTERM], [signal.SIGTERM], 143),
        ([signal.SIGINT, signal.SIGTERM], [signal.SIGINT], 130),
    ],
    ids=["Ctrl-C", "terminate", "hang-up", "Ctrl-C twice", "terminal closed, DVC gone", "Ctrl-C, DVC gone"],
)
def test_a_request_reaches_the_stage(
    stop: Stop, sent: list[signal.Signals], told: list[signal.Signals], code: int
) -> None:
    """A second Ctrl-C is passed on; a second SIGTERM would only disturb a stage that saves its state."""
    stage = Stage()
    with stop.passed_on(stage.told.append, stage.kill, grace_s=60):
        send(*sent)
    assert stage.told == told
    assert stop.exit_code == code
    assert stage.killed == 0


def test_a_request_before_the_stage_started_reaches_it(stop: Stop) -> None:
    """The second in which DVC is imported and the sandbox laid is not a hole."""
    send(signal.SIGTERM)
    stage = Stage()
    with stop.passed_on(stage.told.append, stage.kill, grace_s=60):
        pass
    assert stage.told == [signal.SIGTERM]


@pytest.mark.parametrize("early", [False, True], ids=["while it ran", "before it started"])
def test_a_request_starts_the_grace_period(stop: Stop, early: bool) -> None:
    """It ends with the stage: what runs afterwards must not be cut in two."""
    stage = Stage()
    if early:
        send(signal.SIGTERM)
    with stop.passed_on(stage.told.append, stage.kill, grace_s=60):
        if not early:
            send(signal.SIGTERM)
        assert 0 < time_left_s() <= 60
    assert time_left_s() == 0


def test_who_asks_again_gets_no_longer_to_wait(stop: Stop) -> None:
    """The grace period counts from the first request."""
    stage = Stage()
    with stop.passed_on(stage.told.append, stage.kill, grace_s=60):
        send(signal.SIGINT)
        signal.setitimer(signal.ITIMER_REAL, 30)  # half of it has passed
        send(signal.SIGINT)
        assert 0 < time_left_s() <= 30


def test_a_stage_that_takes_too_long_is_killed(stop: Stop) -> None:
    """The exit code stays that of the request."""
    seen, killed = os.pipe()

    def kill() -> None:
        os.write(killed, b"x")

    with stop.passed_on(lambda _number: None, kill, grace_s=0.01):
        assert not stop.killed
        send(signal.SIGINT)
        assert select.select([seen], [], [], 60)[0] == [seen]
    assert stop.killed
    assert stop.exit_code == 130
    os.close(seen)
    os.close(killed)


def test_a_request_after_the_stage_ended_is_kept(stop: Stop) -> None:
    """Publishing is not cut in two; the exit code tells DVC to go no further."""
    stage = Stage()
    with stop.passed_on(stage.told.append, stage.kill, grace_s=60):
        pass
    send(signal.SIGINT)
    assert time_left_s() == 0
    send(signal.SIGALRM)  # one that was on its way when the stage ended
    assert (stage.told, stage.killed, stop.killed) == ([], 0, False)
    assert stop.exit_code == 130


def test_an_ignored_signal_stays_ignored() -> None:
    """nohup ignores the hang-up on purpose; previous handlers come back."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)
    before = {number: signal.getsignal(number) for number in numbers}
    with listening() as stop:
        send(signal.SIGHUP)
        assert stop.asked is None
        assert all(signal.getsignal(number) != before[number] for number in numbers)
    assert {number: signal.getsignal(number) for number in numbers} == before
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


PROGRAM = """
import time
from capillary.lifetimes.stop import listening
with listening() as stop:
    print("listening", flush=True)
    while stop.asked is None:
        time.sleep(0.05)
    print(stop.exit_code, flush=True)
"""
CALLER = """
import subprocess, sys
# what follows keeps the shell from replacing itself with the program
shell = subprocess.Popen(["sh", "-c", '"$0" -c "$1"; true', sys.executable, sys.argv[1]])
print(shell.pid, flush=True)
shell.wait()
"""


@pytest.mark.parametrize("victim", ["DVC", "its shell"])
def test_the_end_of_the_caller_is_a_request(victim: str) -> None:
    """kill -9 sends no signal to anybody else."""
    argv = [sys.executable, "-c", CALLER, PROGRAM]
    with subprocess.Popen(argv, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as caller:
        assert caller.stdout is not None
        shell = int(caller.stdout.readline())
        assert caller.stdout.readline() == "listening\n"
        os.kill(caller.pid if victim == "DVC" else shell, signal.SIGKILL)
        assert caller.stdout.readline() == "143\n"
