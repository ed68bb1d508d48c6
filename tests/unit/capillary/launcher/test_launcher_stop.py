import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from capillary.launcher.stop import Stop, listening
from tests.support.parts import REPOSITORY


@pytest.fixture
def stop() -> Iterator[Stop]:
    with listening() as stop:
        yield stop


def send(*numbers: signal.Signals) -> None:
    for number in numbers:
        os.kill(os.getpid(), number)


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
    """The second in which DVC is imported and the sandbox laid is no hole."""
    send(signal.SIGTERM)
    stage = Stage()
    with stop.passed_on(stage.told.append, stage.kill, grace_s=60):
        pass
    assert stage.told == [signal.SIGTERM]


def test_a_stage_that_takes_too_long_is_killed(stop: Stop) -> None:
    """Once the grace period is over; asking again does not prolong it."""
    stage = Stage()
    with stop.passed_on(stage.told.append, stage.kill, grace_s=0.2):
        send(signal.SIGINT)
        started = time.monotonic()
        while not stage.killed and time.monotonic() < started + 5:
            time.sleep(0.05)
            send(signal.SIGINT)
        assert 0.1 < time.monotonic() - started < 1
    assert stop.killed
    assert stop.exit_code == 130


def test_a_request_after_the_stage_ended_is_kept(stop: Stop) -> None:
    """Publishing is not cut in two; the exit code tells DVC to go no further."""
    stage = Stage()
    with stop.passed_on(stage.told.append, stage.kill, grace_s=0.05):
        pass
    send(signal.SIGINT)
    time.sleep(0.15)
    assert (stage.told, stage.killed) == ([], 0)
    assert stop.exit_code == 130


def test_an_ignored_signal_stays_ignored() -> None:
    """nohup ignores the hang-up on purpose; former handlers come back."""
    former = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    before = signal.getsignal(signal.SIGINT)
    try:
        with listening() as stop:
            send(signal.SIGHUP)
            assert stop.asked is None
            assert signal.getsignal(signal.SIGINT) != before
        assert signal.getsignal(signal.SIGINT) == before
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, former)


PROGRAM = """
import time
from capillary.launcher.stop import listening
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
