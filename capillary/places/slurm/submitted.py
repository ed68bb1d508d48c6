"""Which job of Slurm belongs to a job's folder: found again after a head died, submitted once.

Cells that ask for the same are the tasks of one array. Before it is submitted each folder gets an array.json, which
says which task of which array it is.
"""

import fnmatch
import hashlib
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import Field

from capillary.places.held import clear
from capillary.places.job import Job, digest_of
from capillary.places.outcome import read_ended
from capillary.places.slurm import queue
from capillary.places.slurm.config import SlurmProfile
from capillary.places.slurm.script import (
    SCRIPT_FILE,
    apart_script,
    array_name,
    array_script,
    batch_script,
    job_name,
    submit_apart_argv,
    submit_argv,
    submit_array_argv,
    submit_environment,
)
from capillary.planning.plan import StagePlan
from capillary.settings import BASE_VARIABLES
from stages.common.atomic import atomic_write
from stages.common.program.messages import get_logger
from stages.common.runtime import ORDER_FILE, read_order
from stages.common.stored import Stored, stored_from

log = get_logger(__name__)

ID_FILE = "jobid"
ARRAY_FILE = "array.json"
# by which DVC reaches its remote, for a node that has nothing else in common with this machine
REMOTE_VARIABLES = ("AWS_*", "AZURE_*", "GOOGLE_*", "OSS_*")
BUNDLE_FILE = "bundle.tar.gz"  # in the folder of a job whose node shares no disk with this machine
WriteJobs = Callable[[StagePlan, Path], Sequence[Job]]  # the job of the plan, and those of its gates


_Number = Annotated[int, Field(ge=0)]


class ArrayTask(Stored):
    """Which task of the array called `name` a folder is."""

    name: str
    task: _Number


class Submitted(Stored):
    """A job in Slurm's queue: its number, when it was submitted (seconds since 1970), its order's digest.

    `task` is set for a task of an array, whose number `number` is then.
    """

    number: _Number
    at: float
    order: str
    task: _Number | None = None

    @property
    def job(self) -> str:
        """As Slurm's commands take it."""
        return str(self.number) if self.task is None else f"{self.number}_{self.task}"


Kept = TypeVar("Kept", ArrayTask, Submitted)


def read_submitted(folder: Path) -> Submitted | None:
    """The job that was submitted from `folder`; None when none was."""
    return _read(folder / ID_FILE, Submitted)


def find_or_submit(
    plan: StagePlan, folder: Path, profile: SlurmProfile, write: WriteJobs, variables: Mapping[str, str]
) -> Submitted:
    """The job of `plan`: the one that a previous head submitted, if it still counts, else a new one, which `write`
    writes into `folder`. `variables` are those of this process.
    """
    if found := _find(plan, folder):
        return found
    return _submit(plan, folder, profile, write, variables)


def submit_array(
    folders: Sequence[Path],
    exported: Sequence[str],
    profile: SlurmProfile,
    most: int,
    variables: Mapping[str, str],
) -> list[Submitted]:
    """Submit the jobs that are written in `folders` as one array, of which `most` tasks run at once.

    All of them get the variables `exported`. Raises CapillaryError when Slurm rejects the array.
    """
    name = array_name([read_order(folder / ORDER_FILE).fingerprint for folder in folders])
    script = array_script(profile, name, sys.executable, folders)
    for task, folder in enumerate(folders):
        (folder / ARRAY_FILE).write_text(ArrayTask(name=name, task=task).model_dump_json())
    (folders[0] / SCRIPT_FILE).write_text(script)
    argv = submit_array_argv(folders, exported, most)
    number = queue.submit(argv, submit_environment(dict(variables)))
    return [_remember(folder, number, task) for task, folder in enumerate(folders)]


def _find(plan: StagePlan, folder: Path) -> Submitted | None:
    ended = read_ended(folder)
    if ended is not None and ended.code:
        log.warning(f"{plan.address}: its previous job ended with exit code {ended.code}; a new one is submitted")
    known = find_live(plan, folder)
    if known is None:
        return None
    changed = "" if known.order == digest_of(plan.order) else ", which keeps the settings it was submitted with"
    log.info(f"{plan.address}: found its job {known.job}{changed}")
    return known


def find_live(plan: StagePlan, folder: Path) -> Submitted | None:
    """The job of `plan` that a previous head submitted, if it still counts: it may be running, or has ended well."""
    ended = read_ended(folder)
    if ended is not None and ended.code:
        return None
    known = read_submitted(folder)
    array = _read(folder / ARRAY_FILE, ArrayTask)
    name = array.name if array else _name_of(plan, folder)
    if known is None and (array or (folder / SCRIPT_FILE).is_file()):
        known = _adopt(folder, name, array)
    return None if known is None or (ended is None and _is_over(known, name)) else known


def _adopt(folder: Path, name: str, array: ArrayTask | None) -> Submitted | None:
    """The job of a head that died after submitting it and before recording its number."""
    place = folder.parent if array else Path("/") if _is_apart(folder) else folder
    jobs = (job.partition("_") for job in queue.find_by_name(name, place))
    wanted = str(array.task) if array else ""
    number = next((number for number, _, task in jobs if task == wanted), None)
    return _remember(folder, int(number), array.task if array else None) if number else None


def _is_over(known: Submitted, name: str) -> bool:
    """Whether Slurm says that the job ended without a result, or has given its number to another job."""
    info = queue.ask(known.job)
    return isinstance(info, queue.JobInfo) and (info.is_terminal or info.name != name)


def _submit(
    plan: StagePlan, folder: Path, profile: SlurmProfile, write: WriteJobs, variables: Mapping[str, str]
) -> Submitted:
    clear(folder)
    jobs = write(plan, folder)
    name, exported, script = _name_of(plan, folder), exported_names(variables, jobs), folder / SCRIPT_FILE
    if _is_apart(folder):
        exported = exported_names(variables, jobs, REMOTE_VARIABLES)
        bundle = (folder / BUNDLE_FILE).read_bytes()
        script.write_text(apart_script(profile, name, profile.python or sys.executable, bundle))
        argv = submit_apart_argv(script, exported)
    else:
        script.write_text(batch_script(profile, name, sys.executable, folder))
        argv = submit_argv(folder, exported)
    return _remember(folder, queue.submit(argv, submit_environment(dict(variables))))


def _is_apart(folder: Path) -> bool:
    return (folder / BUNDLE_FILE).is_file()


def _name_of(plan: StagePlan, folder: Path) -> str:
    """The name of a single job. If its node has no folder of it, the name says which folder here belongs to it."""
    fingerprint = plan.order.fingerprint
    return job_name(hashlib.sha256(f"{fingerprint}{folder}".encode()).hexdigest() if _is_apart(folder) else fingerprint)


def exported_names(variables: Mapping[str, str], jobs: Sequence[Job], more: Sequence[str] = ()) -> list[str]:
    """Names of the `variables` of this process that `jobs` need on their nodes, and of those that match `more`."""
    patterns = (*BASE_VARIABLES, *more)
    names = (name for name in variables if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns))
    return sorted({*names, *(name for job in jobs for name in job.exported())})


def _remember(folder: Path, number: int, task: int | None = None) -> Submitted:
    submitted = Submitted(number=number, at=time.time(), order=digest_of(read_order(folder / ORDER_FILE)), task=task)
    with atomic_write(folder / ID_FILE) as stream:
        stream.write(submitted.model_dump_json().encode())
    return submitted


def _read(file: Path, kind: type[Kept]) -> Kept | None:
    if not file.is_file():
        return None
    remedy = "look for the job with squeue --me, cancel it, and remove its folder"
    return stored_from(kind, file.read_bytes(), "the file with a job's number", file=file, remedy=remedy)
