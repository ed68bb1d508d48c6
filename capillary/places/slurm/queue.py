"""Slurm's own commands: submit, ask, signal, cancel, requeue. A command that fails never counts as an answer."""

import re
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from stages.common.errors import MachineError, ServiceError
from stages.common.program.messages import get_logger

log = get_logger(__name__)

TIMEOUT_S = 60
DEFAULT_MIN_JOB_AGE_S = 300.0
_GONE = "Invalid job id specified"
_ID = re.compile(r"\d+(_\d+)?")  # a job, or the task of an array
# Slurm's words for a job that will not run again by itself
TERMINAL = frozenset(
    [
        *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL"),
        *("OUT_OF_MEMORY", "PREEMPTED", "REVOKED", "TIMEOUT"),
    ]
)


class NoAnswer(Enum):
    """Why a job has no description: Slurm does not know it, or did not answer."""

    GONE = "gone"
    SILENT = "silent"


@dataclass(frozen=True, kw_only=True)
class JobInfo:
    """A job as `scontrol show job` describes it; `code` is the exit code of its script.

    `node` is empty while it waits, `reason` if Slurm names none.
    """

    state: str
    reason: str
    node: str
    restarts: int
    name: str
    code: int = 0

    @property
    def is_terminal(self) -> bool:
        """Whether Slurm is done with it."""
        return self.state in TERMINAL

    @property
    def is_pending(self) -> bool:
        """Whether it waits for a node."""
        return self.state == "PENDING"


def submit(argv: Sequence[str], environment: Mapping[str, str]) -> int:
    """Submit a job; returns its number. Raises CapillaryError with Slurm's own words."""
    done = _run(argv, environment)
    number = done.stdout.strip().partition(";")[0]
    if done.returncode or not number.isdecimal():
        raise ServiceError(
            "Slurm rejected the job",
            value=(done.stderr or done.stdout).strip(),
            remedy="correct what Slurm names in configs/slurm.yaml (sinfo lists partitions, `sacctmgr show assoc` "
            "accounts), then repeat",
        )
    return int(number)


def ask(job: str) -> JobInfo | NoAnswer:
    """What Slurm says of `job`: the number of a job, or 123_4 for the task 4 of the array 123."""
    done = _run(["scontrol", "show", "job", "--oneliner", job])
    if done.returncode == 0:
        return parse_job(done.stdout)
    if f"Job {job} not found" in done.stdout:  # Slurm has the array, but forgets at once a task that never ran
        return JobInfo(state="CANCELLED", reason="", node="", restarts=0, name="")
    return NoAnswer.GONE if _GONE in done.stderr else NoAnswer.SILENT


def parse_job(text: str) -> JobInfo | NoAnswer:
    """The job in the output of `scontrol show job --oneliner`."""
    found = {key: match[1] for key in _KEYS if (match := re.search(rf"(?:^| ){key}=(\S*)", text))}
    if "JobState" not in found:
        return NoAnswer.SILENT
    node, reason = found.get("BatchHost") or found.get("NodeList", ""), found.get("Reason", "")
    return JobInfo(
        state=found["JobState"],
        reason="" if reason == "None" else reason,
        node="" if node == "(null)" else node,
        restarts=int(found.get("Restarts", "0")),
        name=found.get("JobName", ""),
        code=int(found.get("ExitCode", "0:0").partition(":")[0]),
    )


_KEYS = ("JobState", "Reason", "NodeList", "BatchHost", "Restarts", "JobName", "ExitCode")


def find_by_name(name: str, folder: Path) -> list[str]:
    """The jobs called `name` that work in `folder` and are not over, each task of an array by itself; ServiceError when
    Slurm is silent.
    """
    done = _run(["squeue", "--me", "--array", "--noheader", f"--name={name}", "--format=%i %Z"])
    if done.returncode:
        raise ServiceError(
            "Slurm does not list the jobs",
            value=done.stderr.strip(),
            remedy="repeat when its controller answers (scontrol ping); until then no job is submitted, so that none "
            "runs twice",
        )
    rows = (line.strip().partition(" ") for line in done.stdout.splitlines())
    return [job for job, _, place in rows if _ID.fullmatch(job) and place == str(folder)]


def ask_to_checkpoint(job: str) -> None:
    """SIGTERM to the program of `job` alone, which passes it on to the stage."""
    _run(["scancel", "--signal=TERM", "--batch", job])


def cancel(job: str) -> str:
    """End `job`, running or not; returns Slurm's refusal, empty when there is none."""
    done = _run(["scancel", job])
    return (done.stderr.strip() or "scancel failed") if done.returncode else ""


def requeue(job: str) -> str:
    """Put `job` back into the queue; returns Slurm's refusal, empty when there is none."""
    done = _run(["scontrol", "requeue", job])
    return done.stderr.strip() if done.returncode else ""


def start_now(job: str) -> None:
    """Let a job that was requeued start as soon as a node is free; Slurm holds it for two minutes otherwise."""
    _run(["scontrol", "update", f"JobId={job}", "StartTime=now"])


def nodes_of_job() -> list[str]:
    """The names of the nodes of the job in which this process runs, in Slurm's order."""
    done = _run(["scontrol", "show", "hostnames"])
    return done.stdout.split()


def address_of(node: str) -> str:
    """Where the cluster reaches `node`; its name when Slurm does not say."""
    done = _run(["scontrol", "show", "node", node, "--oneliner"])
    found = re.search(r"(?:^| )NodeAddr=(\S+)", done.stdout)
    return found[1] if found else node


def min_job_age_s() -> float:
    """How long Slurm describes a job that is over."""
    done = _run(["scontrol", "show", "config"])
    found = re.search(r"^MinJobAge\s*=\s*(\d+)", done.stdout, re.MULTILINE)
    return float(found[1]) if found else DEFAULT_MIN_JOB_AGE_S


def _run(argv: Sequence[str], environment: Mapping[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
    log.debug(f"asks Slurm: {shlex.join(argv)}")
    try:
        return subprocess.run(
            argv,
            env=None if environment is None else dict(environment),
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=TIMEOUT_S,
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # a Ctrl-C is for the head, which decides what it means
        )
    except FileNotFoundError as error:
        raise MachineError(
            f"`{argv[0]}` is not on PATH: this machine has no Slurm",
            remedy="run this on a login node of the cluster, or set CAPILLARY_PLACE=local",
        ) from error
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(argv, 1, "", f"{argv[0]} did not answer within {TIMEOUT_S} s")
