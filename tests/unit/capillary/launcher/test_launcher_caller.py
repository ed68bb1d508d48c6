import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from capillary.launcher.caller import find_caller, is_alive, watching
from tests.support.parts import REPOSITORY, require

TELL = "from capillary.launcher.caller import find_caller; print(find_caller().pid)"


@pytest.mark.parametrize("shell", ["sh", "bash", "dash"])
def test_the_caller_is_found_above_shells(shell: str) -> None:
    """DVC runs a cmd through the user's own shell, which may run another one."""
    require(shutil.which(shell) is not None, f"the shell {shell}")
    # what follows the command keeps the shells from replacing themselves with it
    inner = f'"{sys.executable}" -c "{TELL}"; true'
    done = subprocess.run(
        [shell, "-c", f"sh -c '{inner}'; true"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert int(done.stdout) == os.getpid()


def test_every_usual_shell_is_known(tmp_path: Path) -> None:
    """A process is known by its program's name: here each is the same shell under another one."""
    argv = [sys.executable, "-c", TELL]
    for name in ("sh", "bash", "dash", "zsh", "fish", "ksh", "ash"):
        (tmp_path / name).symlink_to(str(shutil.which("sh")))
        argv = [str(tmp_path / name), "-c", '"$@"; true', name, *argv]
    done = subprocess.run(argv, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert int(done.stdout) == os.getpid()


def test_a_caller_that_vanishes_while_it_is_looked_for_is_the_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever watches it sees that it is gone."""

    def vanish(self: psutil.Process) -> str:
        raise psutil.NoSuchProcess(self.pid)

    monkeypatch.setattr(psutil.Process, "name", vanish)
    caller = find_caller()
    assert caller is not None
    assert caller.pid == os.getppid()


def test_above_shells_alone_there_is_no_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first process of a container may be one."""
    monkeypatch.setattr(psutil.Process, "name", lambda _self: "sh")
    assert find_caller() is None


def test_without_a_shell_the_caller_is_the_parent() -> None:
    """A program that calls the launcher by itself is its caller."""
    done = subprocess.run([sys.executable, "-c", TELL], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert int(done.stdout) == os.getpid()
    assert find_caller() is not None


def test_the_end_of_the_caller_is_noticed_once() -> None:
    """However it ended; a zombie that nobody collected yet has ended, too."""
    process = subprocess.Popen(["sleep", "60"])
    calls = []
    gone = threading.Event()

    def note() -> None:
        calls.append(time.monotonic())
        gone.set()

    with watching(psutil.Process(process.pid), on_gone=note):
        # a launcher whose work is done ends, whoever is still there
        assert all(thread.daemon for thread in threading.enumerate() if thread.name == "caller-watch")
        assert not gone.wait(0.1)
        process.send_signal(signal.SIGKILL)
        assert gone.wait(5)
    process.wait()
    assert len(calls) == 1


def test_nobody_is_told_of_an_end_after_the_block() -> None:
    """By then a signal could meet another handler, or none, which ends the process."""
    process = subprocess.Popen(["sleep", "60"])
    calls: list[bool] = []
    with watching(psutil.Process(process.pid), on_gone=lambda: calls.append(True)):
        assert any(thread.name == "caller-watch" for thread in threading.enumerate())
    assert not any(thread.name == "caller-watch" for thread in threading.enumerate())
    process.kill()
    process.wait()
    assert not calls


def test_a_caller_that_vanishes_between_two_questions_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process may end after it was seen running and before its status is read."""
    process = psutil.Process()

    def vanish(_self: psutil.Process) -> str:
        raise psutil.NoSuchProcess(process.pid)

    monkeypatch.setattr(psutil.Process, "status", vanish)
    assert not is_alive(process)
