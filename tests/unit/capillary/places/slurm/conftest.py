"""A cluster as its commands show it: what they were asked, and what they answer."""

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from capillary.lifetimes.stop import Stop
from capillary.places.job import job_folder
from capillary.places.outcome import Attempt, Ended, write_attempt, write_ended
from capillary.places.slurm import head, queue, watch
from capillary.places.slurm.config import SlurmProfile
from capillary.places.slurm.execute import SlurmPlace
from capillary.planning.plan import StagePlan
from capillary.settings import read_settings
from stages.common.params import validate_params
from tests.support.clusters.places import PROFILE

Make = Callable[..., StagePlan]
Answer = Callable[[], "subprocess.CompletedProcess[str]"]

WELL = Ended(code=0, node="n2", started=2.0, ended=3.0)
NAME = "capillary-0123456789abcdef"


def done(stdout: str = "", stderr: str = "", code: int = 0) -> "subprocess.CompletedProcess[str]":
    return subprocess.CompletedProcess([], code, stdout, stderr)


class FakeSlurm:
    """Answers of `scontrol show job` come one after the other, the last one for ever."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.jobs: list[subprocess.CompletedProcess[str]] = [done(stdout=job("RUNNING", node="n1"))]
        self.named: list[str] = []
        self.squeue_code = 0
        self.scripts: list[str] = []  # that were submitted
        self.environment: dict[str, str] = {}
        self.refuses = ""  # to cancel
        self.rejects: Callable[[str], bool] = lambda _script: False  # a job that no node can run

    def __call__(self, argv: Sequence[str], environment: Any = None) -> "subprocess.CompletedProcess[str]":
        self.asked.append(list(argv))
        if argv[:3] == ["scontrol", "show", "job"]:
            return self.jobs.pop(0) if len(self.jobs) > 1 else self.jobs[0]
        if argv[0] == "squeue":
            return done("\n".join(self.named), "no answer", self.squeue_code)
        if argv[0] == "sbatch":
            self.environment = dict(environment)
            self.scripts.append(Path(argv[-1]).read_text())
            if self.rejects(self.scripts[-1]):
                return done(stderr="Requested node configuration is not available", code=1)
            return done("4711;double\n")
        if argv[0] == "scancel" and self.refuses:
            return done(stderr=self.refuses, code=1)
        return done()

    def said(self, program: str) -> list[list[str]]:
        """Commands of `program` that change something."""
        return [argv[1:] for argv in self.asked if argv[0] == program and argv[1] != "show"]


def job(state: str, *, reason: str = "None", node: str = "(null)", restarts: int = 0, code: int = 0) -> str:
    return (
        f"JobId=4711 JobName={NAME} UserId=me(1) JobState={state} Reason={reason} Dependency=(null) "
        f"Restarts={restarts} ExitCode={code}:0 NodeList={node} Command=/a JobState=FAILED/job.sh"
    )


PENDING = done(stdout=job("PENDING", reason="Priority"))


@pytest.fixture
def slurm(monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    fake = FakeSlurm()
    monkeypatch.setattr(queue, "_run", fake)
    monkeypatch.setattr(head, "POLL_S", 0.0)
    return fake


def profile(**changes: Any) -> SlurmProfile:
    return validate_params(SlurmProfile, {**PROFILE, **changes}, "configs/slurm.yaml")


class Run:
    """A plan, its folder, and the place under test."""

    def __init__(self, plan: StagePlan, root: Path) -> None:
        self.plan = plan
        self.folder = job_folder(plan)
        self.stop = Stop()
        self.published: list[str] = []
        self.place = SlurmPlace(read_settings(root, {}), profile())

    def execute(self) -> int:
        self.place.environment_id(self.plan.root, "toy", self.plan.access)
        return self.place.execute(
            self.plan, self.stop, lambda work: self.published.append((work / "data/out").read_text())
        )

    def leave(self, ended: Ended = WELL) -> None:
        """What a node leaves that has run the job."""
        (self.folder / "outs/data").mkdir(parents=True, exist_ok=True)
        (self.folder / "outs/data/out").write_text("made")
        write_attempt(self.folder, Attempt(node=ended.node, started=ended.started))
        write_ended(self.folder, ended)


@pytest.fixture
def run(make_plan: Make, root: Path, slurm: FakeSlurm) -> Run:
    return Run(make_plan("data/in.txt", fingerprint="0123456789abcdef"), root)


@pytest.fixture
def on_question(slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], None]:
    """Something that happens when the head asks for its job for the first time."""

    def happens(what: Callable[[], None]) -> None:
        usual = FakeSlurm.__call__

        def answer(self: FakeSlurm, argv: list[str], environment: object = None) -> object:
            answered = usual(self, argv, environment)
            if argv[:3] == ["scontrol", "show", "job"]:
                what()
            return answered

        monkeypatch.setattr(FakeSlurm, "__call__", answer)

    return happens


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pause between two answers."""
    monkeypatch.setattr(watch, "PAUSE_S", 0.0)
    monkeypatch.setattr(watch, "FIRST_POLL_S", 0.0)
