"""Which job of Slurm belongs to a job's folder: found again after a head died, submitted once."""

import fnmatch
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from capillary.launcher.plan import StagePlan
from capillary.places.held import clear
from capillary.places.job import Job, digest_of
from capillary.places.outcome import read_ended
from capillary.places.slurm import queue
from capillary.places.slurm.config import SlurmProfile
from capillary.places.slurm.script import SCRIPT_FILE, batch_script, job_name, submit_argv, submit_environment
from capillary.settings import BASE_VARIABLES
from stages.common.atomic import atomic_write
from stages.common.errors import DamagedError
from stages.common.progress import say
from stages.common.runtime import ORDER_FILE, read_order

ID_FILE = "jobid"
WriteJobs = Callable[[StagePlan, Path], Sequence[Job]]  # the job of the plan, and those of its gates


@dataclass(frozen=True, kw_only=True)
class Submitted:
    """A job in Slurm's queue: its number, when it was submitted (seconds since 1970), its order's digest."""

    number: int
    at: float
    order: str


def read_submitted(folder: Path) -> Submitted | None:
    """The job that was submitted from `folder`; None when none was."""
    file = folder / ID_FILE
    if not file.is_file():
        return None
    try:
        return Submitted(**json.loads(file.read_bytes()))
    except (ValueError, TypeError) as error:
        raise DamagedError(
            "the file with a job's number cannot be read",
            file=file,
            value=error,
            remedy="look for the job with squeue --me, cancel it, and remove its folder",
        ) from error


def find_or_submit(
    plan: StagePlan, folder: Path, profile: SlurmProfile, write: WriteJobs, variables: Mapping[str, str]
) -> Submitted:
    """The job of `plan`: the one that a previous head submitted, if it still counts, else a new one, which `write`
    writes into `folder`. `variables` are those of this process.
    """
    if found := _find(plan, folder):
        return found
    return _submit(plan, folder, profile, write, variables)


def _find(plan: StagePlan, folder: Path) -> Submitted | None:
    ended = read_ended(folder)
    if ended is not None and ended.code:
        say(f"{plan.address}: its former job ended with exit code {ended.code}; a new one is submitted")
        return None
    known = read_submitted(folder)
    if known is None and (folder / SCRIPT_FILE).is_file():
        known = _adopt(plan, folder)
    if known is None or (ended is None and _is_over(known, job_name(plan.order.fingerprint))):
        return None
    changed = "" if known.order == digest_of(plan.order) else ", which keeps the settings it was submitted with"
    say(f"{plan.address}: found its job {known.number}{changed}")
    return known


def _adopt(plan: StagePlan, folder: Path) -> Submitted | None:
    """The job of a head that died between its submission and the note of its number."""
    numbers = queue.find_by_name(job_name(plan.order.fingerprint), folder)
    return _remember(folder, numbers[0]) if numbers else None


def _is_over(known: Submitted, name: str) -> bool:
    """Whether Slurm knows that the job ended without leaving a result, or has given its number to another one."""
    info = queue.ask(known.number)
    return isinstance(info, queue.JobInfo) and (info.is_terminal or info.name != name)


def _submit(
    plan: StagePlan, folder: Path, profile: SlurmProfile, write: WriteJobs, variables: Mapping[str, str]
) -> Submitted:
    clear(folder)
    jobs = write(plan, folder)
    name = job_name(plan.order.fingerprint)
    (folder / SCRIPT_FILE).write_text(batch_script(profile, name, sys.executable, folder))
    names = (name for name in variables if any(fnmatch.fnmatchcase(name, pattern) for pattern in BASE_VARIABLES))
    exported = sorted({*names, *(name for job in jobs for name in job.exported())})
    number = queue.submit(submit_argv(folder, exported), submit_environment(dict(variables)))
    return _remember(folder, number)


def _remember(folder: Path, number: int) -> Submitted:
    submitted = Submitted(number=number, at=time.time(), order=digest_of(read_order(folder / ORDER_FILE)))
    with atomic_write(folder / ID_FILE) as stream:
        stream.write(json.dumps(asdict(submitted)).encode())
    return submitted
