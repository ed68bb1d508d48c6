"""python -m capillary.launcher.ahead LEVEL CELL…: equal cells of an experiment become one array of Slurm.

Each cell has its own head later, which finds its job in its folder as after a head that died. A cell that cannot be
planned here is left to its head, which says why; so is one that has a job already, and one that no other is equal to.
"""

import contextlib
import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from capillary.dvc.errors import DvcException
from capillary.dvc.graph import Entry
from capillary.launcher.run import checked_plan, hand_gates, look_at_state, read_request
from capillary.lifetimes.stop import Stop, listening
from capillary.places.held import clear, held, remove
from capillary.places.job import Job, job_folder
from capillary.places.slurm.config import SlurmConfig, SlurmProfile, read_config
from capillary.places.slurm.execute import SlurmPlace
from capillary.places.slurm.script import options
from capillary.places.slurm.submitted import exported_names, find_live, submit_array
from capillary.planning.access import is_gate, stage_of
from capillary.planning.plan import StagePlan
from capillary.planning.provenance import forget
from capillary.publishing import finished
from capillary.settings import Settings, read_settings
from stages.common.errors import CapillaryError
from stages.common.program.ending import run_main
from stages.common.program.messages import Level, get_logger, print_messages

log = get_logger(__name__)

MOST_TASKS = 1000  # Slurm's own default (MaxArraySize); cells beyond them are submitted by their heads


@dataclass(frozen=True, kw_only=True)
class Written:
    """A job that is written and not submitted: its folder, and what it asks for."""

    folder: Path
    profile: SlurmProfile
    exported: tuple[str, ...]

    @property
    def request(self) -> tuple[str, ...]:
        """What tasks of one array have in common."""
        return (*options(self.profile, ""), *self.exported)


def submit_ahead(root: Path, cells: Sequence[str], settings: Settings, stop: Stop) -> None:
    """Submit those of `cells` that `dvc repro` would run, in the workspace `root`, equal ones as one array."""
    config = read_config(root)
    with contextlib.ExitStack() as locks:
        written: dict[tuple[str, ...], list[Written]] = {}
        for job in _write(root, cells, config, settings, stop, locks):
            written.setdefault(job.request, []).append(job)
        for jobs in written.values():
            if len(jobs) > 1 and stop.asked is None:
                _submit(jobs, config.max_jobs)
            else:
                for job in jobs:
                    remove(job.folder)


def _write(
    root: Path, cells: Sequence[str], config: SlurmConfig, settings: Settings, stop: Stop, locks: contextlib.ExitStack
) -> Iterator[Written]:
    """Write the jobs of `cells`, whose folders this process holds until `locks` ends."""
    written = 0
    for cell in cells:
        profile = config.profile_of(stage_of(root, cell))
        if profile is None or profile.is_apart or written == MOST_TASKS or stop.asked is not None:
            continue
        place = SlurmPlace(settings, profile)
        try:
            plan = _plan(root, cell, place, settings, stop)
            if plan is None:
                continue
            folder = job_folder(plan)
            locks.enter_context(held(folder, cell))
            jobs = _fresh(plan, folder, place, settings)
        except (CapillaryError, DvcException):
            continue  # its head meets the same, and says so
        if not jobs:
            continue
        for needed in plan.writable:
            needed.mkdir(parents=True, exist_ok=True)
        written += 1
        yield Written(folder=folder, profile=profile, exported=tuple(exported_names(os.environ, jobs)))


def _plan(root: Path, cell: str, place: SlurmPlace, settings: Settings, stop: Stop) -> StagePlan | None:
    """The plan of `cell` as its head will make it; None if it will need no new job."""
    entry = Entry(root, cell)
    if not entry.is_due():
        return None
    commands = (shlex.split(line, comments=True) for line in entry.commands)
    stages = [words[2:] for words in commands if words[:2] == ["capillary", "stage"]]
    name, *argv = next(words for words in stages if not is_gate(root, words[0]))
    request = read_request(name, tuple(argv), {"DVC_STAGE": cell, "DVC_ROOT": str(root)})
    plan = checked_plan(request, entry, settings, place, stop)
    if finished.has(plan):
        forget(plan)
        return None
    hand_gates(place, request, entry, settings)
    return plan


def _fresh(plan: StagePlan, folder: Path, place: SlurmPlace, settings: Settings) -> list[Job]:
    """Write the job of `plan` into `folder`; nothing where a job of a former head still counts."""
    try:
        if find_live(plan, folder) is not None:
            return []
        clear(folder)
        look_at_state(plan, settings)
        return place.write(plan, folder)
    finally:
        forget(plan)


def _submit(jobs: Sequence[Written], most: int) -> None:
    """Submit equal `jobs` as an array. A cluster may allow fewer jobs in its queue than these."""
    folders, first = [job.folder for job in jobs], jobs[0]
    try:
        submitted = submit_array(folders, first.exported, first.profile, most, os.environ)
    except CapillaryError as error:
        log.warning(f"Slurm takes no array of {len(jobs)} jobs ({error.value}); each cell is submitted by itself")
        return  # the folders stay: an answer that came too late is not a rejection, and heads look for the array
    log.info(f"{len(jobs)} equal cells are tasks of the array {submitted[0].number}; at most {most} run at once")


def main() -> None:
    """Submit the cells that the arguments name, of the project in the working folder; print messages of a level."""
    root = Path.cwd()
    level, *cells = sys.argv[1:]
    settings = read_settings(root)
    print_messages(cast(Level, level), settings.log_format)
    with listening() as stop:
        submit_ahead(root, cells, settings, stop)


if __name__ == "__main__":
    run_main(main)
