"""Ways to end a run, as users and machines do it: the stage ends, all that it started ends, the next run is free."""

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator

import psutil
import pytest

from tests.support.toy import ToyProject
from tests.support.warm import with_warm_dvc

MakeToy = Callable[..., ToyProject]
# bash tells DVC the launcher's exit code; dash, which a Ctrl-C in a terminal reaches too, ends by that signal itself
INTERRUPTED = r"exited with (130|-2)\b"
MODES = """
def mark(state):
    (state / "started").write_text(str(os.getpid()))

def polite(state):
    def leave(number, frame):
        print("asked by", number, flush=True)
        time.sleep(0.3)
        sys.exit(128 + number)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, leave)
    mark(state)
    for _ in range(1200):  # in steps: Python runs no handler in a sleep for a signal that came just before it
        time.sleep(0.1)

def stubborn(state):
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    mark(state)
    time.sleep(120)

def family(state):
    import multiprocessing
    start(); multiprocessing.get_context("spawn").Process(target=time.sleep, args=(120,)).start()
    multiprocessing.get_context("fork").Process(target=time.sleep, args=(120,)).start()
    time.sleep(1)
    mark(state)
    time.sleep(120)

def start(**how):
    ignores_requests = ["sh", "-c", "trap '' TERM INT HUP; sleep 120; true"]
    return subprocess.Popen(ignores_requests, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **how).pid

def leaves_some_behind(state):
    pids = [start(), start(start_new_session=True)]
    Path("data/out/pids").write_text(" ".join(map(str, pids)))
"""


@pytest.fixture
def toy(make_toy: MakeToy) -> ToyProject:
    return make_toy(MODES)


class Run:
    """`dvc repro` in its own session, as in a terminal; DVC starts warm where its own end is not what is tested."""

    def __init__(self, toy: ToyProject, mode: str, *prefix: str, warm_dvc: bool = False, **variables: str) -> None:
        toy.set(mode)
        environment = toy.environment(**variables)
        self.dvc = subprocess.Popen(
            [*prefix, "dvc", "repro"],
            cwd=toy.root,
            env=with_warm_dvc(environment) if warm_dvc else environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.stage = psutil.Process(self._started(toy))
        self.launcher = psutil.Process(self.stage.ppid())
        self.family = [self.launcher, *self.launcher.children(recursive=True)]

    def _started(self, toy: ToyProject) -> int:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            for marker in (toy.root / ".capillary" / "state").glob("*/started"):
                if text := marker.read_text():
                    return int(text)
            time.sleep(0.05)
        raise AssertionError("the stage did not start")

    def output(self) -> str:
        return self.dvc.communicate(timeout=60)[0]

    def left(self, within_s: float = 10) -> list[psutil.Process]:
        return psutil.wait_procs(self.family, timeout=within_s)[1]


@pytest.fixture
def start(toy: ToyProject) -> Iterator[Callable[..., Run]]:
    runs: list[Run] = []

    def start(mode: str, *prefix: str, warm_dvc: bool = False, **variables: str) -> Run:
        runs.append(Run(toy, mode, *prefix, warm_dvc=warm_dvc, **variables))
        return runs[-1]

    yield start
    for process in [process for run in runs for process in run.family if process.is_running()]:
        process.kill()


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_ctrl_c_in_a_terminal_reaches_the_stage_once(start: Callable[..., Run], toy: ToyProject, shell: str) -> None:
    """The terminal sends it to the whole foreground group: DVC, the user's shell and the launcher."""
    run = start("polite", SHELL=str(shutil.which(shell)))
    os.killpg(run.dvc.pid, signal.SIGINT)
    output = run.output()
    assert output.count("asked by 2") == 1
    assert re.search(INTERRUPTED, output)
    assert run.left() == []
    assert toy.leftovers() == []


def test_a_closed_terminal_lets_the_stage_save_its_state(start: Callable[..., Run], toy: ToyProject) -> None:
    """The hang-up ends DVC at once; the stage is asked as by SIGTERM, once."""
    run = start("polite")
    os.killpg(run.dvc.pid, signal.SIGHUP)
    assert run.output().count("asked by 15") == 1
    assert run.left() == []
    assert toy.leftovers() == []


def test_a_run_under_nohup_survives_the_closed_terminal(start: Callable[..., Run]) -> None:
    """That is what nohup is for."""
    run = start("polite", "nohup")
    os.killpg(run.dvc.pid, signal.SIGHUP)
    time.sleep(1.5)
    assert run.stage.is_running()
    os.killpg(run.dvc.pid, signal.SIGINT)
    assert re.search(INTERRUPTED, run.output())
    assert run.left() == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stage_that_does_not_end_is_killed(
    start: Callable[..., Run], toy: ToyProject, number: signal.Signals, code: int
) -> None:
    """After the grace period, with a line that names its setting; the exit code is that of the request."""
    run = start("stubborn", warm_dvc=True, CAPILLARY_GRACE_S="1")
    run.launcher.send_signal(number)
    output = run.output()
    assert "did not end within 1 s (CAPILLARY_GRACE_S)" in output
    assert f"exited with {code}" in output
    assert run.left() == []
    assert toy.leftovers() == []


@pytest.mark.parametrize("victim", ["dvc", "launcher", "stage"])
def test_nothing_that_a_stage_started_outlives_a_kill(start: Callable[..., Run], toy: ToyProject, victim: str) -> None:
    """Workers of every kind and programs that ignore requests, whichever process the kernel killed.

    The same command then works. What a stage leaves running ends with it: it could still write while the outs are
    published. Out of memory leaves no other trace in the output than the launcher's words.
    """
    run = start("family", warm_dvc=victim != "dvc", CAPILLARY_GRACE_S="2")
    assert len(run.family) >= 6  # launcher, stage, two workers, resource tracker, shell
    psutil.Process({"dvc": run.dvc.pid, "launcher": run.launcher.pid, "stage": run.stage.pid}[victim]).kill()
    output = run.output()
    if victim == "stage":
        assert "ended by SIGKILL" in output
        assert "memory" in output
        assert "exited with 137" in output
    assert run.left() == []
    toy.set("leaves_some_behind")
    done = toy.repro()
    assert done.returncode == 0, done.stderr
    assert toy.out("made.txt") == "made"
    assert [pid for pid in map(int, toy.out("pids").split()) if _runs(pid)] == []
    assert toy.leftovers() == []


def _runs(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
