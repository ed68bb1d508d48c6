"""A stage that any place can run, and heads that run it: what the contract of places is tested with.

The stage needs the standard library alone, so that its image is the base image. A head is a fork of the test's own
process, which has imported what it needs.
"""

import contextlib
import dataclasses
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import yaml

from capillary.compute.computing import stage_compute
from capillary.executors.choose import Executor, choose_executor
from capillary.lifetimes.stop import listening
from capillary.places.choose import choose_place
from capillary.planning.access import StageAccess
from capillary.planning.make_plan import plan_stage
from capillary.planning.plan import StagePlan, StageRequest
from capillary.publishing.publish import publish
from capillary.settings import read_settings
from stages.common.errors import CapillaryError
from tests.support.parts import REPOSITORY
from tests.support.processes import processes_in

START_S = 90
SETTINGS = {
    "process": {"CAPILLARY_EXECUTOR": "process"},
    "docker": {"CAPILLARY_EXECUTOR": "docker"},
    "podman": {"CAPILLARY_EXECUTOR": "podman"},
    "slurm": {"CAPILLARY_PLACE": "slurm"},
    "ray": (RAY := {"CAPILLARY_PLACE": "ray"}),
    "docker on slurm": {"CAPILLARY_PLACE": "slurm"},
    "docker on ray": RAY,
}
PROGRAM = """
import json, os, signal, sys, tempfile, time
from pathlib import Path

STATE = Path(json.loads(Path("order.json").read_text())["state_dir"])
OUT = Path("data/out")


def wait_for(name):
    deadline = time.monotonic() + 60
    while not (STATE / name).exists() and time.monotonic() < deadline:
        time.sleep(0.02)


def tell():
    print("here", flush=True)
    wait_for("go")
    (OUT / "variables").write_text(json.dumps(dict(os.environ)))


def fail():
    sys.exit(9)


def full():
    if not (STATE / "tried").exists():
        (STATE / "tried").touch()
        sys.stderr.write(os.strerror(28) + "\\n")
        sys.exit(6)


def save():
    def leave(number, frame):
        (STATE / "saved").write_text("checkpoint")
        sys.exit(128 + number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, leave)
    print("here", flush=True)
    # in steps: Python runs no handler in a sleep for a signal that came just before it
    for _ in range(0 if (STATE / "saved").exists() else 1200):
        time.sleep(0.1)
    (OUT / "resumed").write_text((STATE / "saved").read_text())


def work():
    asked = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, frame: asked.append(number))
    print("here", flush=True)
    steps = STATE / "steps"
    for step in range(len(steps.read_text().split()) if steps.exists() else 0, int(os.environ["TOY_STEPS"])):
        with tempfile.TemporaryFile() as scratch:
            scratch.write(bytes(2 << 20))
        time.sleep(0.25)
        with steps.open("a") as stream:
            stream.write(f"{step}\\n")
        if asked:
            sys.exit(128 + asked[0])
    with (STATE / "ends").open("a") as stream:
        stream.write("end\\n")
    for name in ("steps", "ends"):
        (OUT / name).write_text((STATE / name).read_text())


def ignore():
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    print("here", flush=True)
    time.sleep(120)


OUT.mkdir()
(OUT / "copy").write_text(Path("data/in.txt").read_text())
globals()[sys.argv[1]]()
"""
ACCESS = StageAccess(network="none", env=("TOY_*",), resume=True, gpu="none", memory_gb=0.25, pids=64, shm_gb=0.0625)
PROFILE = {
    **dict.fromkeys(["partition", "account", "qos", "gpu_type", "gpu_memory_gb"]),
    **{"time": "10", "cpus": 1, "memory_gb": 0.5, "gpus": 0, "warn_s": 30, "runtime": "process", "extra": []},
}


def ray_config(runtime: str = "process") -> dict[str, Any]:
    """configs/ray.yaml of a toy, whose tasks are small and come back after a loss."""
    shipped: dict[str, Any] = yaml.safe_load((REPOSITORY / "configs/ray.yaml").read_text())
    small = {"cpus": 1, "memory_gb": 0.1, "gpus": 0, "gpu_memory_gb": None, "retries": 3, "runtime": runtime}
    return {**shipped, "stages": {"toy": "small"}, "profiles": {"small": small}}


@dataclass(frozen=True, kw_only=True)
class Entry:
    """The stage's entry in dvc.yaml, without DVC."""

    root: Path
    outs: list[str] = dataclasses.field(default_factory=lambda: ["data/out"])

    @property
    def deps(self) -> list[str]:
        """Its data and its code."""
        return ["data/in.txt", "stages"]

    @property
    def cache_dir(self) -> Path:
        """Of no use here."""
        return self.root / ".dvc" / "cache"

    def params(self) -> dict[str, Any]:
        """None."""
        return {}

    def dep_hashes(self) -> dict[str, str]:
        """What tells one project from another."""
        return {"data/in.txt": (self.root / "data/in.txt").read_text(), "stages": "code"}


class PlaceProject:
    """A project whose one stage runs in the place `name`."""

    def __init__(self, root: Path, name: str) -> None:
        self.root = root
        self.name = name
        runtime = name.split(" on ")[0] if " on " in name else "process"
        job = {**PROFILE, "runtime": runtime}
        files = {
            "stages/__init__.py": "",
            "stages/toy/__init__.py": "",
            "stages/toy/__main__.py": PROGRAM,
            "stages/toy/Dockerfile": "ARG BASE=python:3.11-slim-bookworm\nFROM ${BASE} AS runtime\n",
            "stages/toy/requirements.txt": "",
            "constraints.txt": "",
            ".dockerignore": "*\n",
            "data/in.txt": "hello\n",
            "configs/compute.yaml": (REPOSITORY / "configs/compute.yaml").read_text(),
            "configs/slurm.yaml": yaml.safe_dump(
                {"max_jobs": 3, "stages": {"toy": "small"}, "profiles": {"small": job}}
            ),
            "configs/ray.yaml": yaml.safe_dump(ray_config(runtime)),
        }
        for file, text in files.items():
            (root / file).parent.mkdir(parents=True, exist_ok=True)
            (root / file).write_text(text)

    def plan(self, mode: str, *, address: str = "toy", **variables: str) -> tuple[StagePlan, Executor]:
        """The plan of a run in `mode`, and who runs it."""
        settings = read_settings(self.root, {**os.environ, **SETTINGS[self.name], **variables})
        executor = choose_place(self.root, "toy", settings) or choose_executor(settings)
        request = StageRequest(stage="toy", address=address, argv=(mode,), root=self.root, repository=self.root)
        identity = executor.environment_id(self.root, "toy", ACCESS)
        compute = stage_compute(self.root, settings, None, executor.limits)
        return plan_stage(request, Entry(root=self.root), ACCESS, settings, identity, compute), executor

    def out(self) -> dict[str, str]:
        """Files of the published out; none when nothing is published."""
        folder = self.root / "data/out"
        return {file.name: file.read_text() for file in folder.iterdir()} if folder.exists() else {}

    def holding(self, secret: bytes) -> list[str]:
        """Files of runs that hold `secret`; those that come and go meanwhile are looked at if they are still there."""
        found = []
        for file in (self.root / ".capillary").rglob("*"):
            with contextlib.suppress(FileNotFoundError):
                if file.is_file() and secret in file.read_bytes():
                    found.append(str(file))
        return found

    def leftovers(self) -> list[str]:
        """Folders and processes of runs that are over."""
        folders = [each for name in ("sandbox", "jobs") for each in (self.root / ".capillary" / name).glob("*")]
        return [*map(str, folders), *(str(process) for process in processes_in(self.root))]


class Head:
    """A run of a project's stage in its own process."""

    def __init__(self, project: PlaceProject, mode: str, *, address: str = "toy", **variables: str) -> None:
        read, write = os.pipe()
        self.plan, executor = project.plan(mode, address=address, **variables)
        self._lines: IO[str] = os.fdopen(read)
        arguments = (self.plan, executor, write, variables)
        self.process = multiprocessing.get_context("fork").Process(target=_run, args=arguments)
        self.process.start()
        os.close(write)
        self.printed: list[str] = []

    def wait_for(self, text: str) -> str:
        """The first line that holds `text`."""
        for line in self._lines:
            self.printed.append(line)
            if text in line:
                return line
        raise AssertionError(f"it ended without {text!r}:\n{''.join(self.printed)}")

    def let_go(self) -> None:
        """Let the stage continue."""
        (self.plan.state_dir / "go").touch()

    def ask(self, number: int) -> None:
        """Send the head a signal."""
        assert self.process.pid is not None
        os.kill(self.process.pid, number)

    def code(self) -> int | None:
        """The exit code, once it has ended."""
        self.printed += list(self._lines)
        self.process.join(START_S)
        return self.process.exitcode

    def text(self) -> str:
        """All that it printed so far."""
        return "".join(self.printed)


def _run(plan: StagePlan, executor: Executor, write: int, variables: dict[str, str]) -> None:
    os.setsid()
    for number in (1, 2):
        os.dup2(write, number)
    os.close(write)
    sys.stdout, sys.stderr = os.fdopen(1, "w", buffering=1), os.fdopen(2, "w", buffering=1)
    os.environ.update(variables)
    code = 1
    try:
        with listening() as stop:
            code = executor.execute(plan, stop, lambda work: publish(work, plan.outs, plan.root))
    except CapillaryError as error:
        sys.stderr.write(error.report() + "\n")
        code = error.code
    finally:
        sys.stdout.flush()
        os._exit(code)


@contextlib.contextmanager
def ended_heads() -> Iterator[list[Head]]:
    """A list for heads, which are killed at the end of the block if they still run."""
    heads: list[Head] = []
    try:
        yield heads
    finally:
        for head in heads:
            if head.process.is_alive():
                head.process.kill()
            head.process.join()


def until(done: Any, within_s: float = 30) -> bool:
    """Whether `done()` becomes true in time."""
    deadline = time.monotonic() + within_s
    while not done():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True
