import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO

import psutil
import pytest

from capillary.lifetimes import inside

STAGE = r"""
import os, signal, subprocess, sys, time
mode = sys.argv[1]
def leave(number, frame):
    os.write(1, f"asked by {number}\n".encode())  # print may be at work when the signal comes
    if mode == "polite":
        sys.exit(128 + number)
if mode not in ("plain", "leaving"):
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, leave)
print(os.environ["TOKEN"], os.getpid(), os.environ["LANG"], os.getpgid(0) == os.getpid(), flush=True)
if mode == "plain":
    sys.exit(int(sys.argv[2]))
if mode == "leaving":
    subprocess.Popen(["sleep", "60"])
    sys.exit(0)
while True:
    time.sleep(0.1)
"""


class Supervised:
    """inside.py with a stage, as the daemon starts it; the test holds the launcher's end."""

    def __init__(self, folder: Path, *argv: str, grace_s: float) -> None:
        (folder / "a_stage.py").write_text(STAGE)
        self.process = subprocess.Popen(
            [sys.executable, "-P", inside.__file__, "a_stage", *argv],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(folder), "LANG": "y"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.say(json.dumps({"environment": {"TOKEN": "s3cr3t", "LANG": "x"}, "grace_s": grace_s}))

    @property
    def input(self) -> IO[str]:
        assert self.process.stdin is not None
        return self.process.stdin

    def say(self, line: str) -> None:
        self.input.write(f"{line}\n")
        self.input.flush()

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()


def supervise(folder: Path, mode: str = "polite", code: str = "0", grace_s: float = 5.0) -> Supervised:
    return Supervised(folder, mode, code, grace_s=grace_s)


@pytest.mark.parametrize("code", ["0", "3"])
def test_the_stages_exit_code_is_kept(tmp_path: Path, code: str) -> None:
    """As a container's, too."""
    assert supervise(tmp_path, "plain", code).process.wait(10) == int(code)


def test_the_variables_of_the_order_are_the_stage_s_alone(tmp_path: Path) -> None:
    """In its environment, but not in the supervisor's, which `docker inspect` shows."""
    run = supervise(tmp_path)
    token, _, lang, own_group = run.line().split()
    assert (token, lang, own_group) == ("s3cr3t", "x", "True")
    assert b"s3cr3t" not in Path(f"/proc/{run.process.pid}/environ").read_bytes()
    run.input.close()
    assert run.process.wait(10) == 143


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_requested_signal_reaches_the_stage(tmp_path: Path, number: signal.Signals) -> None:
    """By its number on standard input."""
    run = supervise(tmp_path)
    run.line()
    run.say(str(int(number)))
    assert run.line() == f"asked by {int(number)}"
    assert run.process.wait(10) == 128 + number


def test_the_end_of_the_connection_asks_the_stage_to_stop(tmp_path: Path) -> None:
    """However the launcher ended, it can say nothing any more."""
    run = supervise(tmp_path)
    run.line()
    run.input.close()
    assert run.line() == "asked by 15"
    assert run.process.wait(10) == 143


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)])
def test_docker_stop_reaches_the_stage(tmp_path: Path, number: signal.Signals, code: int) -> None:
    """It signals the first process only, by whichever signal the image names."""
    run = supervise(tmp_path)
    run.line()
    run.process.send_signal(number)
    assert run.line() == f"asked by {int(number)}"
    assert run.process.wait(10) == code


def test_a_stage_that_does_not_end_is_killed_after_the_grace_period(tmp_path: Path) -> None:
    """With its exit code as a shell would report it; it was asked before."""
    run = supervise(tmp_path, "stubborn", grace_s=0.3)
    stage = psutil.Process(int(run.line().split()[1]))
    run.input.close()
    assert run.line() == "asked by 15"
    assert run.process.wait(10) == 137
    assert not stage.is_running()


def test_what_a_stage_left_running_ends_with_it(tmp_path: Path) -> None:
    """It could still write; the end of what it printed is the end of the last that holds stdout."""
    run = supervise(tmp_path, "leaving")
    run.line()
    assert run.process.wait(10) == 0
    assert run.process.stdout is not None
    assert select.select([run.process.stdout], [], [], 30)[0]
    assert run.line() == ""


def test_the_grace_period_starts_once_and_lasts_as_long_as_ordered() -> None:
    """Asking again does not prolong it."""
    child = inside.Child(["sleep", "60"], dict(os.environ), 50.0)
    assert child._killer is None
    child.ask(signal.SIGCONT)
    killer = child._killer
    assert killer is not None
    assert (killer.interval, killer.daemon, killer.is_alive()) == (50.0, True, True)
    child.ask(signal.SIGCONT)
    assert child._killer is killer
    killer.cancel()
    child.kill()
    assert child.wait() == 137


def test_a_stage_that_has_just_ended_is_asked_in_vain() -> None:
    """The request and the end may cross."""
    child = inside.Child(["true"], dict(os.environ), 0.0)
    assert child.wait() == 0
    child.ask(signal.SIGTERM)
    child.ask(signal.SIGKILL)
    assert child.wait() == 0


def test_kill_is_not_waited_for(tmp_path: Path) -> None:
    """The launcher asks for it when its own patience is at an end."""
    run = supervise(tmp_path, "stubborn", grace_s=60)
    run.line()
    run.say("9")
    assert run.process.wait(5) == 137


def test_without_an_order_nothing_starts(tmp_path: Path) -> None:
    """The launcher was killed between making the container and starting it."""
    done = subprocess.run(
        [sys.executable, "-P", inside.__file__, "a_stage"],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        check=False,
        capture_output=True,
    )
    assert done.returncode == 143
    assert done.stdout == b""
