"""A Docker daemon, and a toy project whose stages run in its containers."""

import shutil
import subprocess
import textwrap
import time
from pathlib import Path
from typing import Any

import docker
import psutil
from docker.errors import DockerException

from capillary.publishing.leftovers import TORN
from tests.support.parts import REPOSITORY, require
from tests.support.toy import ToyProject

REAPED_WITHIN_S = 15
START_S = 120  # the first run builds the toy's image
DOCKERFILE = """\
ARG BASE=python:3.11-slim-bookworm
FROM ${BASE} AS runtime
COPY constraints.txt stages/toy/requirements.txt /tmp/
RUN python -m venv /opt/venv \\
 && /opt/venv/bin/pip install --quiet --no-cache-dir -c /tmp/constraints.txt -r /tmp/requirements.txt
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1
"""
LIMITS = "gpu: none, memory_gb: 0.25, pids: 64, shm_gb: 0.06"
ACCESS = f"toy: {{network: none, env: [TOY_*], resume: true, {LIMITS}}}\n"
MAIN = """
import json
from pathlib import Path
import yaml
from stages.common.program.ending import run_main
from stages.toy import modes


def main():
    toy = yaml.safe_load(Path("params.yaml").read_text())["toy"]
    Path("data/out").mkdir()
    getattr(modes, toy["mode"])(Path(json.loads(Path("order.json").read_text())["state_dir"]), toy["times"])


if __name__ == "__main__":
    run_main(main)
"""
HEAD = """
import errno, os, signal, socket, subprocess, sys, time
from pathlib import Path

OUT = Path("data/out")
PARTS = 10


def write(parts, times, pause_s=0.0):
    for part in parts:
        (OUT / f"{part}.txt").write_text(Path("data/in.txt").read_text() * times)
        time.sleep(pause_s)


def work(state, times):
    (state / "started").touch()
    write(range(PARTS), times, 0.08)

"""


# stages that meet their end in the middle of their out, and end well the next time
CHAOS_MODES = """
def again(state):
    # whether an earlier attempt got here; its folder outlives it
    found = (state / "started").exists()
    (state / "started").touch()
    return found


def nap():
    # in steps: Python runs no handler in a sleep for a signal that came just before it
    for _ in range(1200):
        time.sleep(0.1)


def hang_once(state, times):
    write(range(5), times)
    if not again(state):
        nap()
    write(range(5, PARTS), times)


def say_once(state, times):
    def leave(number, frame):
        print("asked by", number, flush=True)
        (state / "saved").touch()
        sys.exit(128 + number)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, leave)
    hang_once(state, times)
    print("saved before:", (state / "saved").exists())


def ignore_once(state, times):
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    subprocess.Popen(["sh", "-c", "trap '' TERM INT HUP; sleep 120; true"])
    hang_once(state, times)


def eat_once(state, times):
    write(range(5), times)
    if not again(state):
        held = bytearray(os.urandom(1 << 20) * 600)
    write(range(5, PARTS), times)
"""


class ContainerToy(ToyProject):
    """The toy project with its own image: its stage is a function of `modes`, which is a Python source."""

    def __init__(self, root: Path, modes: str, *, access: str = ACCESS, dockerfile: str = DOCKERFILE) -> None:
        super().__init__(root)
        (root / "stages/toy/__main__.py").write_text(MAIN)
        (root / "stages/toy/modes.py").write_text(HEAD + textwrap.dedent(modes))
        (root / "stages/toy/Dockerfile").write_text(dockerfile)
        (root / "stages/toy/requirements.txt").write_text("pydantic\npyyaml\nrich\n")
        (root / ".dockerignore").write_text("*\n!constraints.txt\n!stages\n")
        (root / "configs/stages.yaml").write_text(access)
        shutil.copy(REPOSITORY / "constraints.txt", root)
        self.commit()

    def commit(self) -> None:
        """Everything that was changed, into Git: temporary experiments see only what is committed."""
        for argv in (["git", "add", "-A"], ["git", "commit", "-qm", "change"]):
            subprocess.run(argv, cwd=self.root, env=self.environment(), check=True, capture_output=True)

    def environment(self, **more: str) -> dict[str, str]:
        """As a user who wants containers and nothing else."""
        return super().environment(**{"CAPILLARY_EXECUTOR": "docker", "CAPILLARY_TORCH": "cpu", **more})

    def containers(self) -> list[dict[str, Any]]:
        """This project's containers, stopped ones included."""
        wanted = {"label": f"capillary.project={self.root}"}
        found: list[dict[str, Any]] = client().api.containers(all=True, filters=wanted)
        return found

    def left(self, within_s: float = REAPED_WITHIN_S) -> list[str]:
        """Names of containers that are still there after `within_s`."""
        deadline = time.monotonic() + within_s
        while (found := self.containers()) and time.monotonic() < deadline:
            time.sleep(0.2)
        return [container["Names"][0] for container in found]

    def started(self) -> bool:
        """Whether a stage has marked its start in its resume folder."""
        return any((self.root / ".capillary" / "state").glob("*/started"))

    def forget_start(self) -> None:
        """Remove marks of previous runs."""
        for mark in (self.root / ".capillary" / "state").glob("*/started"):
            mark.unlink()

    def parts(self) -> dict[str, str] | None:
        """Files of the published out; None when nothing is published."""
        out = self.root / "data" / "out"
        return {file.name: file.read_text() for file in out.iterdir()} if out.exists() else None


class Run:
    """`dvc repro` (or another command) of a toy in its own session, as in a terminal."""

    def __init__(self, toy: ContainerToy, *argv: str, **variables: str) -> None:
        self.toy = toy
        toy.forget_start()
        self.dvc = subprocess.Popen(
            argv or ("dvc", "repro"),
            cwd=toy.root,
            env=toy.environment(**variables),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def wait_started(self) -> None:
        """Until the stage's own code runs."""
        deadline = time.monotonic() + START_S
        while not self.toy.started():
            assert self.dvc.poll() is None, f"it ended before the stage started:\n{self.output()}"
            assert time.monotonic() < deadline, "the stage did not start"
            time.sleep(0.05)

    def launcher(self) -> psutil.Process | None:
        """The process of `capillary stage`, None when there is none."""
        try:
            family = psutil.Process(self.dvc.pid).children(recursive=True)
            return next((process for process in family if _is_launcher(process)), None)
        except psutil.NoSuchProcess:
            return None

    def output(self) -> str:
        """All that it printed; waits until it has ended."""
        return self.dvc.communicate(timeout=60)[0]

    def end(self) -> None:
        """Kill what is left of it, after a test that failed."""
        if self.dvc.poll() is None:
            self.dvc.kill()
            self.output()


def start_stage(toy: ContainerToy, mode: str, **variables: str) -> Run:
    """`dvc repro` of a toy, with the stage in the middle of `mode`."""
    toy.set(mode, 2)
    run = Run(toy, **variables)
    run.wait_started()
    return run


def _is_launcher(process: psutil.Process) -> bool:
    try:
        words = process.cmdline()
    except psutil.NoSuchProcess:
        return False
    return "stage" in words and any(Path(word).name == "capillary" for word in words[:2])


def client() -> docker.DockerClient:
    """A client of the daemon that the environment names; skips the test where none answers, fails it in CI."""
    try:
        found = docker.from_env()
        found.ping()
    except DockerException:
        require(False, "a Docker daemon")
    return found


def whole(times: int) -> dict[str, str]:
    """The out that the mode `work` publishes."""
    return {f"{part}.txt": "hello\n" * times for part in range(10)}


def assert_clean(toy: ContainerToy) -> None:
    """No container, and an out that is whole, of this run or the previous one, or absent."""
    assert toy.left() == []
    assert toy.parts() in (None, whole(1), whole(2))


def assert_rerun_ends_well(toy: ContainerToy, times: int = 2) -> str:
    """`dvc repro` again: the right result, and nothing left."""
    done = toy.repro()
    if TORN in done.stderr:  # DVC was killed while it wrote its list of busy paths: docs/docker-socket.md says this
        cleaned = toy.run("capillary", "clean")
        assert cleaned.returncode == 0, cleaned.stderr
        done = toy.repro()
    assert done.returncode == 0, done.stdout + done.stderr
    assert toy.parts() == whole(times)
    assert toy.left(within_s=5) == []
    assert toy.leftovers() == []
    return done.stdout + done.stderr
