"""A cluster as its commands show it: what they were asked, and what they answer."""

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from capillary.places.slurm import head, queue

Answer = Callable[[], "subprocess.CompletedProcess[str]"]

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


@pytest.fixture
def slurm(monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    fake = FakeSlurm()
    monkeypatch.setattr(queue, "_run", fake)
    monkeypatch.setattr(head, "POLL_S", 0.0)
    return fake
