"""`capillary jobs`: the jobs of this project that are in the queue, running, or over and not collected yet."""

import json
import shutil
import tempfile
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import typer
from rich.table import Table

from capillary.places.held import is_held
from capillary.places.job import JOB_FILE, JOBS, LOG_FILE, read_job
from capillary.places.outcome import STOP_FILE, Attempt, Ended, attempts, read_ended
from capillary.places.slurm import queue
from capillary.places.slurm.submitted import BUNDLE_FILE, Submitted, read_submitted
from capillary.project_folder import require_project
from capillary.settings import PlaceName
from stages.common.epoch_line import EpochLine, parse_epoch
from stages.common.errors import CapillaryError, DamagedError, UsageError
from stages.common.program.console import answer_is_for_program, console, plain, print_answer, print_table
from stages.common.program.messages import get_logger, message_of
from stages.common.runtime import ORDER_FILE, read_order

log = get_logger(__name__)

_TAIL_BYTES = 65536
POLL_S = 0.5
LOOK_S = 5.0  # between two questions to Slurm, or looks into a job's mailbox
NONE = "–"


@dataclass(frozen=True, kw_only=True)
class JobFacts:
    """One job. `cell` is its entry's address, `job` its number; `waited_s` in the queue, before it first ran."""

    cell: str
    job: str | None
    state: str
    node: str | None
    epoch: int | None
    epochs: int | None
    waited_s: float | None
    retries: int
    resume_folder: str
    folder: str


def show_jobs(repository: Path, *, as_json: bool) -> None:
    """Print the jobs as a table, or as JSON."""
    if as_json:
        answer_is_for_program()
    found = [facts_of(folder) for folder in folders(repository)]
    if not found:
        require_project(repository)
    if as_json:
        typer.echo(json.dumps([asdict(facts) for facts in found], indent=2))
        return
    if not found:
        print_answer("no job of this project is in the queue or running")
        return
    table = Table("cell", "job", "state", "node", "epoch", "waited", "retried")
    for facts in found:
        epoch = NONE if facts.epoch is None else f"{facts.epoch}/{facts.epochs}"
        waited = NONE if facts.waited_s is None else f"{facts.waited_s:.0f} s"
        row = (facts.cell, facts.job or NONE, facts.state, facts.node or NONE, epoch, waited, facts.retries)
        table.add_row(*map(plain, row))
    print_table(table)


def folders(repository: Path) -> list[Path]:
    """Folders of jobs, in the order of their names."""
    return sorted(file.parent for file in (repository / JOBS).glob(f"*/{JOB_FILE}"))


def facts_of(folder: Path) -> JobFacts:
    """What the node of the job in `folder` and Slurm say about it."""
    order, submitted = read_order(folder / ORDER_FILE), read_submitted(folder)
    with tempfile.TemporaryDirectory() as own:
        seen = _look(folder, Path(own))
        taken, epoch, ended = list(attempts(seen)), _last_epoch(seen), read_ended(seen)
    return JobFacts(
        cell=order.stage,
        job=submitted.job if submitted else None,
        state=_state(folder, submitted, taken, ended),
        node=taken[-1].node if taken else None,
        epoch=epoch.epoch if epoch else None,
        epochs=epoch.epochs if epoch else None,
        waited_s=_waited_s(submitted, taken),
        retries=max(0, len(taken) - 1),
        resume_folder=order.state_dir.name,
        folder=str(folder),
    )


def _look(folder: Path, own: Path) -> Path:
    """Where to look for what the node of the job in `folder` tells: there, or `own`, filled from the job's mailbox."""
    if not (folder / BUNDLE_FILE).is_file() or read_ended(folder) is not None:
        return folder
    from capillary.dvc.errors import DvcException  # for nodes without a shared disk only
    from capillary.dvc.remote import silence_words
    from capillary.places.apart.view import fill

    try:
        fill(read_job(folder).root, folder, own)
    except (OSError, DvcException, CapillaryError) as error:
        log.warning(f"{silence_words(error)}; this is what the job's head saw last")
        return folder
    return own


def _state(folder: Path, submitted: Submitted | None, taken: Sequence[Attempt], ended: Ended | None) -> str:
    if ended is not None:
        return "done, not collected yet" if ended.code == 0 else f"failed ({ended.code}), not collected yet"
    if read_job(folder).place is not PlaceName.SLURM:
        return "running" if taken else "queued"
    if submitted is None:
        return "not submitted"
    info = queue.ask(submitted.job)
    if isinstance(info, queue.JobInfo):
        why = f" ({info.reason})" if info.reason else ""  # none until the scheduler has looked at it
        return f"queued{why}" if info.is_pending else info.state.lower()
    return "Slurm does not answer" if info is queue.NoAnswer.SILENT else "not known to Slurm"


def _waited_s(submitted: Submitted | None, taken: Sequence[Attempt]) -> float | None:
    if submitted is None:
        return None
    return max(0.0, (taken[0].started if taken else time.time()) - submitted.at)


def _last_epoch(folder: Path) -> EpochLine | None:
    lines = _tail(folder / LOG_FILE).decode(errors="replace").splitlines()
    return next((epoch for line in reversed(lines) if (epoch := parse_epoch(message_of(line)))), None)


def _tail(log: Path) -> bytes:
    if not log.is_file() or log.is_symlink():
        return b""
    with log.open("rb") as stream:
        stream.seek(max(0, log.stat().st_size - _TAIL_BYTES))
        return stream.read()


def show_log(repository: Path, name: str, *, follow: bool) -> None:
    """Print what the job `name` (its cell or its number) printed; with `follow` until it is over."""
    folder = find(repository, name)
    with tempfile.TemporaryDirectory() as own:
        chunks = _growing(folder, Path(own)) if follow else iter([_tail(_look(folder, Path(own)) / LOG_FILE)])
        for chunk in chunks:
            console.file.write(chunk.decode(errors="replace"))
            console.file.flush()


def _growing(folder: Path, own: Path) -> Iterator[bytes]:
    """The log so far and as it grows, until the job is over; its mailbox, if it has one, is copied into `own`."""
    at, asked_s = 0, time.monotonic()
    pause_s = LOOK_S if (folder / BUNDLE_FILE).is_file() else POLL_S
    while True:
        is_collected = not folder.exists()
        seen = own if is_collected else _look(folder, own)
        over = is_collected or read_ended(seen) is not None
        if not over and time.monotonic() - asked_s >= LOOK_S:
            over, asked_s = _has_died(folder), time.monotonic()
            seen = _look(folder, own) if over and seen == own else seen  # what it left since the look before
        log = seen / LOG_FILE
        if log.is_file() and not log.is_symlink():
            with log.open("rb") as stream:
                stream.seek(at)
                chunk = stream.read()
            at += len(chunk)
            yield chunk
        if over:
            return
        time.sleep(pause_s)


def _has_died(folder: Path) -> bool:
    """Whether Slurm says that the job is over, which may have been killed before it could say so itself."""
    submitted = read_submitted(folder)
    return submitted is not None and _is_over(submitted)


def _is_over(submitted: Submitted) -> bool:
    info = queue.ask(submitted.job)
    return info is queue.NoAnswer.GONE or (isinstance(info, queue.JobInfo) and info.is_terminal)


def find(repository: Path, name: str) -> Path:
    """The folder of the job of the cell `name`, or with that number; CapillaryError when there is none."""
    known = {folder: facts_of_name(folder) for folder in folders(repository)}
    found = [folder for folder, names in known.items() if name in names]
    if not found:
        tasks = [known[folder][-1] for folder in tasks_of(repository, name)]
        listed = ", ".join(tasks or [names[0] for names in known.values()]) or "there are none"
        raise UsageError(
            f"{name} is an array of jobs" if tasks else f"this project has no job {name}",
            remedy=f"name a cell or a job number from `capillary jobs`: {listed}",
        )
    return found[-1]


def facts_of_name(folder: Path) -> tuple[str, ...]:
    """Names of a job: its cell, and its number if it has one."""
    submitted = read_submitted(folder)
    cell = read_order(folder / ORDER_FILE).stage
    return (cell, submitted.job) if submitted else (cell,)


def tasks_of(repository: Path, number: str) -> list[Path]:
    """The folders of the jobs that are tasks of the array with that number."""
    submitted = ((folder, read_submitted(folder)) for folder in folders(repository))
    return [folder for folder, job in submitted if job and job.task is not None and str(job.number) == number]


def cancel_jobs(repository: Path, names: Sequence[str], *, every: bool) -> None:
    """Ask jobs to checkpoint and end; those that wait in the queue are removed from it."""
    chosen = folders(repository) if every else [each for name in names for each in _named(repository, name)]
    for folder in dict.fromkeys(chosen):
        _cancel(folder)
    if not chosen:
        print_answer("no job of this project is in the queue or running")


def _named(repository: Path, name: str) -> list[Path]:
    return tasks_of(repository, name) or [find(repository, name)]


def _cancel(folder: Path) -> None:
    submitted = read_submitted(folder)
    cell = read_order(folder / ORDER_FILE).stage
    is_task = read_job(folder).place is not PlaceName.SLURM
    if read_ended(folder) is not None or (submitted is None and not is_task):
        log.info(f"{cell}: its job is over already")
        return
    (folder / STOP_FILE).touch()
    if submitted is None:  # what runs it looks for the mark (capillary/places/ray/task.py)
        log.info(f"{cell}: its task is asked to checkpoint and end")
        return
    if (folder / BUNDLE_FILE).is_file():
        from capillary.places.apart.place import tell_to_end  # DVC, for nodes without a shared disk only

        tell_to_end(folder.parents[2], folder)
    info = queue.ask(submitted.job)
    if isinstance(info, queue.JobInfo) and info.is_pending:
        queue.cancel(submitted.job)
        log.info(f"{cell}: job {submitted.job} is removed from the queue")
    else:
        queue.ask_to_checkpoint(submitted.job)
        log.info(f"{cell}: job {submitted.job} is asked to checkpoint and end")


def withdraw(repository: Path, cells: Collection[str]) -> None:
    """Cancel the jobs of `cells` that no head waits for: tasks of an array whose head was never started."""
    for folder in folders(repository):
        if read_order(folder / ORDER_FILE).stage in cells and not is_held(folder):
            _cancel(folder)


def live_states(repository: Path) -> set[str]:
    """Names of the resume folders that jobs may be using."""
    return {read_order(folder / ORDER_FILE).state_dir.name for folder in folders(repository)}


def clean_jobs(repository: Path) -> None:
    """Remove folders of jobs that are over and that no head follows; what they computed is kept nowhere else."""
    for folder in sorted((repository / JOBS).glob("*")):
        if is_held(folder) or _may_run(folder):
            continue
        log.info(f"removing {folder}: its job is over")
        shutil.rmtree(folder)


def _may_run(folder: Path) -> bool:
    """Whether a job may still use `folder`; a job that succeeded stays there until it is collected."""
    try:
        with tempfile.TemporaryDirectory() as own:
            seen = _look(folder, Path(own))
            ended, submitted = read_ended(seen), read_submitted(folder)
    except DamagedError:
        return False
    if ended is None and seen == folder and (folder / BUNDLE_FILE).is_file():
        return True  # its remote does not answer, and may have what the job has made
    if ended is not None:
        return ended.code == 0
    if submitted is None:
        return (folder / JOB_FILE).is_file() and read_job(folder).place is not PlaceName.SLURM
    return not _is_over(submitted)
