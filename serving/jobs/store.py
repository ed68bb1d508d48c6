"""Jobs on disk: a folder each, with job.json, the stack and what was made of it; whole or not there at all."""

import contextlib
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from serving.jobs.homes import Homes
from serving.jobs.record import MOST_ATTEMPTS, Failure, Job, State
from stages.common.atomic import atomic_write
from stages.common.program.messages import get_logger

log = get_logger(__name__)

RECORD, JOBS = "job.json", "jobs"
ID = re.compile(r"[0-9a-f]{32}")
MOST_RECORD_BYTES = 100_000


class JobStore:
    """The jobs below `folder`. What is in memory is what is on disk, progress within a stack apart.

    With `homes`, `folder` is one of several: jobs of the others can be read, and those of a home that was left are
    taken over.
    """

    def __init__(self, folder: Path, homes: Homes | None = None) -> None:
        self._homes = homes
        self._jobs_folder, self._incoming, self._aside = folder / JOBS, folder / "incoming", folder / "damaged"
        for each in (self._jobs_folder, self._incoming):
            each.mkdir(parents=True, exist_ok=True, mode=0o700)
        for left in self._incoming.iterdir():  # of uploads that a kill cut off
            shutil.rmtree(left)
        self._jobs = {job.id: job for job in self._read_all()}

    def all(self) -> list[Job]:
        """Every job, the oldest first."""
        return sorted(self._jobs.values(), key=lambda job: (job.created, job.id))

    def everywhere(self) -> list[Job]:
        """Every job, those of other homes too, the oldest first."""
        found = (self._read(folder) for home in self._others() for folder in (home / JOBS).glob("*"))
        return sorted([*self.all(), *filter(None, found)], key=lambda job: (job.created, job.id))

    def owns(self, job_id: str) -> bool:
        """Whether this process may change the job."""
        return job_id in self._jobs

    def get(self, job_id: str) -> Job | None:
        """The job `job_id`, of whatever home; None if there is none."""
        if job_id in self._jobs:
            return self._jobs[job_id]
        folder = self._elsewhere(job_id)
        return self._read(folder) if folder else None

    def folder(self, job_id: str) -> Path:
        """Where the files of a job are."""
        own = self._jobs_folder / job_id
        return own if self.owns(job_id) else self._elsewhere(job_id) or own

    def adopt(self) -> int:
        """Take over the jobs of homes whose process ended; returns how many."""
        taken = 0
        for home in self._homes.abandoned() if self._homes else ():
            for folder in sorted((home / JOBS).glob("*")):
                job = self._read(folder)
                if job is None:
                    continue  # whoever starts there moves it aside
                folder.rename(self._jobs_folder / job.id)
                self._jobs[job.id] = self._requeued(job) if job.state is State.RUNNING else job
                taken += 1
        return taken

    def _others(self) -> list[Path]:
        return self._homes.others() if self._homes else []

    def _elsewhere(self, job_id: str) -> Path | None:
        if not ID.fullmatch(job_id):
            return None
        folders = (home / JOBS / job_id for home in self._others())
        return next((folder for folder in folders if (folder / RECORD).is_file()), None)

    @contextlib.contextmanager
    def incoming(self, job_id: str) -> Iterator[Path]:
        """A folder for the files of a job that is not accepted yet; removed at the end unless `accept` took it."""
        folder = self._incoming / job_id
        folder.mkdir(mode=0o700)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)  # gone already when it was accepted

    def accept(self, job: Job, incoming: Path) -> None:
        """Take the job with the files in `incoming`: from here on a restart does not lose it."""
        _write(job, incoming)
        incoming.rename(self.folder(job.id))
        self._jobs[job.id] = job

    def save(self, job: Job) -> Job:
        """Write a job that changed."""
        _write(job, self.folder(job.id))
        self._jobs[job.id] = job
        return job

    def hold(self, job: Job) -> None:
        """Keep a job as it is in memory alone; gone where it has ended or was removed. A restart begins it again."""
        if job.id in self._jobs and not self._jobs[job.id].state.has_ended:
            self._jobs[job.id] = job

    def note_progress(self, job_id: str, progress: float) -> None:
        """In memory alone: a restart begins the stack again."""
        job = self._jobs[job_id]
        self._jobs[job_id] = job.model_copy(update={"progress": min(max(progress, 0.0), 1.0)})

    def remove(self, job_id: str) -> None:
        """Forget a job and its files."""
        del self._jobs[job_id]
        shutil.rmtree(self.folder(job_id))

    def _read_all(self) -> Iterator[Job]:
        for folder in sorted(self._jobs_folder.iterdir()):
            job = self._read(folder)
            if job is None:
                self._aside.mkdir(exist_ok=True)
                log.warning(f"{folder.name} is not a complete job; it was moved to {self._aside}")
                folder.rename(self._aside / folder.name)
            elif job.state is State.RUNNING:  # the service ended in the middle of it
                yield self._requeued(job)
            else:
                yield job

    def _read(self, folder: Path) -> Job | None:
        file = folder / RECORD
        if not ID.fullmatch(folder.name) or file.is_symlink() or not file.is_file():
            return None
        try:
            if file.stat().st_size > MOST_RECORD_BYTES:
                return None
            job = Job.model_validate_json(file.read_bytes())
        except (ValidationError, FileNotFoundError):  # another home's may go at any time
            return None
        return job if job.id == folder.name else None

    def _requeued(self, job: Job) -> Job:
        """Queue a job again whose service was killed while it ran, or fail it after MOST_ATTEMPTS."""
        update: dict[str, object] = {"state": State.QUEUED, "progress": 0.0, "started": None}
        if job.attempts >= MOST_ATTEMPTS:
            what = f"the service ended {job.attempts} times while it segmented this stack"
            why = Failure(what=what, remedy="send a smaller part of the stack")
            update = {"state": State.FAILED, "ended": time.time(), "failure": why}
        again = job.model_copy(update=update)
        _write(again, self._jobs_folder / job.id)
        return again


def _write(job: Job, folder: Path) -> None:
    with atomic_write(folder / RECORD) as stream:
        stream.write(job.model_dump_json(indent=1).encode())
