import os
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from capillary.lifetimes import leash as leashing
from capillary.lifetimes.leash import kill_group, leash
from tests.support.parts import REPOSITORY

# a launcher whose stage starts children of its own: a plain program that ignores requests and a Python process
PROGRAM = """
import subprocess, sys, time
from capillary.lifetimes.leash import leash
STAGE = '''
import multiprocessing, subprocess, sys, time
stubborn = subprocess.Popen(["sh", "-c", "trap '' TERM INT HUP; sleep 60; true"])
worker = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
worker.start()
print(stubborn.pid, worker.pid, flush=True)
time.sleep(60)
'''
with leash() as tie:
    stage = subprocess.Popen([sys.executable, "-c", STAGE], process_group=0)
    tie(stage.pid)
    print(stage.pid, flush=True)
    time.sleep(60)
"""


def wait_until_gone(pids: list[int], within_s: float) -> list[int]:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        left = [pid for pid in pids if psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie"]
        if not left:
            return []
        time.sleep(0.05)
    return left


@pytest.mark.parametrize("victim", ["the launcher", "its process group"])
def test_what_a_killed_launcher_leaves_is_killed(victim: str) -> None:
    """The stage, its workers and the programs that it started, though nobody can tell them any more."""
    launcher = subprocess.Popen(
        [sys.executable, "-c", PROGRAM], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, process_group=0
    )
    assert launcher.stdout is not None
    pids = [int(pid) for _ in range(2) for pid in launcher.stdout.readline().split()]
    assert len(pids) == 3
    assert all(psutil.pid_exists(pid) for pid in pids)
    if victim == "the launcher":
        launcher.send_signal(signal.SIGKILL)
    else:
        os.killpg(launcher.pid, signal.SIGKILL)
    launcher.wait()
    assert wait_until_gone(pids, within_s=5) == []


@pytest.mark.parametrize("tied", [False, True])
def test_a_launcher_that_ends_leaves_the_group_and_no_leash(
    tied: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The leash is for a killed launcher only, and no child of the launcher, where others would take it for a stage."""
    program = shutil.copy(leashing.__file__, tmp_path)
    monkeypatch.setattr(leashing, "__file__", str(program))
    before = psutil.Process().children(recursive=True)  # helpers that Python keeps for other tests
    with subprocess.Popen(["sleep", "60"], process_group=0) as sleeper:
        with leash() as tie:
            if tied:
                tie(sleeper.pid)
            (process,) = [each for each in psutil.process_iter() if str(program) in _command(each)]
            children = set(psutil.Process().children(recursive=True)) - set(before)
            assert [child.pid for child in children] == [sleeper.pid]
            assert process.cwd() == "/"  # it keeps no disk from being unmounted
        assert wait_until_gone([process.pid], within_s=5) == []
        assert sleeper.poll() is None
        kill_group(sleeper.pid)
        assert sleeper.wait() == -signal.SIGKILL


def test_a_leash_that_was_killed_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stage continues without it."""
    program = shutil.copy(leashing.__file__, tmp_path)
    monkeypatch.setattr(leashing, "__file__", str(program))
    with leash():
        (process,) = [each for each in psutil.process_iter() if str(program) in _command(each)]
        process.kill()
        assert wait_until_gone([process.pid], within_s=5) == []


# a launcher that is killed and would have a command run instead of a kill
WITH_A_COMMAND = """
import os, signal, sys
from capillary.lifetimes.leash import leash
with leash("/bin/sh", "-c", 'echo "$0" > "$1"', "ran", sys.argv[1]) as tie:
    tie(int(sys.argv[2]))
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_command_runs_in_place_of_a_kill(tmp_path: Path) -> None:
    """With its arguments, once the launcher was killed."""
    os.mkfifo(tmp_path / "pipe")
    said = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    with subprocess.Popen(["sleep", "60"], process_group=0) as sleeper:
        argv = [sys.executable, "-c", WITH_A_COMMAND, str(tmp_path / "pipe"), str(sleeper.pid)]
        assert subprocess.run(argv, cwd=REPOSITORY, check=False).returncode == -signal.SIGKILL
        assert select.select([said], [], [], 60)[0] == [said]
        assert os.read(said, 100) == b"ran\n"
        assert sleeper.poll() is None
        sleeper.kill()
    os.close(said)


def test_after_a_good_end_no_command_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The launcher did itself what had to be done."""
    program = shutil.copy(leashing.__file__, tmp_path)
    monkeypatch.setattr(leashing, "__file__", str(program))
    with leash("/usr/bin/touch", str(tmp_path / "made")):
        (process,) = [each for each in psutil.process_iter() if str(program) in _command(each)]
    assert wait_until_gone([process.pid], within_s=5) == []
    assert not (tmp_path / "made").exists()


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return []


def test_killing_an_empty_group_is_no_error() -> None:
    """Most stages leave nothing running."""
    process = subprocess.Popen(["true"], process_group=0)
    process.wait()
    kill_group(process.pid)
