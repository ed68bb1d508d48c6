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

from capillary.lifetimes import caller
from capillary.lifetimes.caller import find_caller, find_run, first_in_run, is_alive, watching
from tests.support.parts import REPOSITORY, require

TELL = "from capillary.lifetimes.caller import find_caller; print(find_caller().pid)"


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
    found = find_caller()
    assert found is not None
    assert found.pid == os.getppid()


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


class Family:
    """Processes by their command lines, from the asked one upwards."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
        own = psutil.Process()
        numbers = {os.getpid() + step: line.split() for step, line in enumerate(lines)}
        monkeypatch.setattr(psutil.Process, "cmdline", lambda process: numbers[process.pid])
        others = [psutil.Process() for _ in lines[1:]]
        for step, process in enumerate(others, start=1):
            process._pid = os.getpid() + step
        monkeypatch.setattr(psutil.Process, "parents", lambda _self: others)
        self.numbers = [own.pid, *(process.pid for process in others)]


PYTHON = "/x/.venv/bin/python"
FAMILIES = [
    ((f"{PYTHON} /x/bin/capillary stage train", "/bin/sh -c capillary", f"{PYTHON} /x/bin/dvc repro", "bash"), 2),
    ((f"{PYTHON} /x/bin/capillary predict a b", "tmux new -s capillary", "code /home/me/dvc"), 0),
    ((f"{PYTHON} -m pytest", f"{PYTHON} -m dvc repro", f"{PYTHON} -I -m capillary experiment", "/x/bin/just x"), 3),
    (("some program", "bash"), 0),
]


@pytest.mark.parametrize(("lines", "outermost"), FAMILIES)
def test_a_run_is_what_the_user_typed(monkeypatch: pytest.MonkeyPatch, lines: tuple[str, ...], outermost: int) -> None:
    """The outermost of DVC, capillary and just; a shell, an editor or a terminal of that name is none of them."""
    family = Family(monkeypatch, *lines)
    assert find_run().pid == family.numbers[outermost]


def test_something_is_said_once_in_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By whichever of its stages comes first; the next run says it again, and forgets the ones that have ended."""
    ended = tmp_path / ".capillary/said/root-999999999-1.00"
    ended.parent.mkdir(parents=True)
    ended.touch()
    first = psutil.Process(1)
    monkeypatch.setattr(caller, "find_run", lambda: first)
    assert [first_in_run(tmp_path, "root") for _ in range(3)] == [True, False, False]
    assert first_in_run(tmp_path, "secrets")
    monkeypatch.setattr(caller, "find_run", psutil.Process)
    assert [first_in_run(tmp_path, "root") for _ in range(2)] == [True, False]
    assert not ended.exists()


def test_where_nothing_can_be_kept_it_is_said_each_time(tmp_path: Path) -> None:
    """A read-only file system hides no warning."""
    (tmp_path / ".capillary").write_text("no folder")
    assert [first_in_run(tmp_path, "root") for _ in range(2)] == [True, True]
