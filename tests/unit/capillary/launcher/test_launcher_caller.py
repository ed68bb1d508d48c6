import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest

from capillary.launcher.caller import find_caller, is_alive, watch
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

    watch(psutil.Process(process.pid), on_gone=note)
    assert not gone.wait(0.1)
    process.send_signal(signal.SIGKILL)
    assert gone.wait(5)
    process.wait()
    assert len(calls) == 1


def test_a_caller_that_vanishes_between_two_questions_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process may end after it was seen running and before its status is read."""
    process = psutil.Process()

    def vanish(_self: psutil.Process) -> str:
        raise psutil.NoSuchProcess(process.pid)

    monkeypatch.setattr(psutil.Process, "status", vanish)
    assert not is_alive(process)
