"""The stacks of a batch one after the other: the next one is read and the last one written while one is computed.

So three stacks are in work at most. They are on the disk; memory holds slices and patches of them.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from stages.common.errors import CapillaryError, ExitCode, find_foreseen
from stages.common.imaging.formats.damage import TooLargeError
from stages.common.imaging.zyx import Spacing
from stages.common.requests.prediction.request import PredictRequest, StackRequest
from stages.common.requests.prediction.results import Results, StackResult
from stages.predict.batch.keys import stack_key
from stages.predict.batch.showing import Showing
from stages.predict.disk.scratch import Scratch
from stages.predict.disk.sharing import SharedRoom
from stages.predict.files.writing import StackGeometry
from stages.predict.reporting import Remarks, Report
from stages.predict.steps import Computed, Method, Prepared, compute, prepare, survey, write


class StoppedError(Exception):
    """The run ends before this stack is read."""


@dataclass(kw_only=True)
class Job:
    """One stack on its way through the steps; a step fills in what it makes. `error` ends the way."""

    number: int
    stack: StackRequest
    remarks: Remarks
    scratch: Scratch
    key: str = ""
    place: StackGeometry | None = None
    prepared: Prepared | None = None
    computed: Computed | None = None
    error: CapillaryError | None = None
    is_unchanged: bool = False
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """Of its files, and of what the work on it keeps on the disk."""
        return self.stack.mask.parent

    @property
    def report(self) -> Report:
        """Where its steps tell what they do."""
        return self.remarks.report()

    @contextlib.contextmanager
    def timed(self, step: str) -> Iterator[None]:
        """Count the block to `step`."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds[step] = time.monotonic() - started

    def result(self) -> StackResult:
        """What is to be told of it."""
        failed = (f"{self.error.what}; {self.error.remedy}",) if self.error else ()
        shape: tuple[int, int, int] | None = self.place.shape_zyx if self.place else None
        spacing: Spacing | None = self.place.spacing_um if self.place else None
        return StackResult(
            number=self.number,
            status="failed" if self.error else "unchanged" if self.is_unchanged else "done",
            key=self.key,
            shape_zyx=shape,
            spacing_um=spacing,
            vessel_share=self.computed.vessel_share if self.computed else None,
            read_s=self.seconds.get("read", 0.0),
            compute_s=self.seconds.get("compute", 0.0),
            write_s=self.seconds.get("write", 0.0),
            words=(*self.remarks.warnings, *failed),
        )


class Batch:
    """The work on `request`. `method_key` is what all outputs have in common (keys.py)."""

    def __init__(self, request: PredictRequest, method: Method, method_key: str) -> None:
        assert request.folder is not None
        self._folder, self._stacks = request.folder, request.stacks
        self._method, self._key = method, method_key
        self._room = SharedRoom()
        self._stopping = threading.Event()
        self.failed = 0

    def run(self) -> None:
        """Work through all stacks. Raises what stops the whole run, such as a full disk, once the writer is done."""
        with (
            Results(self._folder) as results,
            Showing(len(self._stacks)) as showing,
            ThreadPoolExecutor(1, "read") as reader,
            ThreadPoolExecutor(1, "write") as writer,
        ):
            try:
                self._pass_through(reader, writer, lambda job: self._end(job, results, showing))
            except BaseException:
                self._stopping.set()
                self._room.close()
                reader.shutdown(cancel_futures=True)
                raise

    def _pass_through(self, reader: ThreadPoolExecutor, writer: ThreadPoolExecutor, end: Callable[[Job], None]) -> None:
        """Ahead by one, behind by one."""
        jobs = map(self._job, range(len(self._stacks)))
        behind: Future[None] | None = None
        ahead = _submit(reader, self._read, next(jobs, None))
        while ahead is not None:
            job = ahead.result()
            ahead = _submit(reader, self._read, next(jobs, None))
            self._compute(job)
            if behind is not None:
                behind.result()
            behind = writer.submit(self._write, job, end)
        if behind is not None:
            behind.result()

    def _job(self, number: int) -> Job:
        stack = self._stacks[number]
        stack.mask.parent.mkdir()
        remarks = Remarks(name=stack.image.name, check=self._check)
        return Job(number=number, stack=stack, remarks=remarks, scratch=Scratch(stack.mask))

    def _check(self) -> None:
        if self._stopping.is_set():
            raise StoppedError

    def _read(self, job: Job) -> Job:
        with job.timed("read"), _noting(job, ends_run=_stops_reading):
            job.key = stack_key(job.stack, self._key)
            if job.key == job.stack.made_as:
                job.is_unchanged = True
                return job
            job.place = survey(job.stack, job.report)

            def claim(needed: int, decoded: int) -> None:
                self._room.enter(job.folder, job.scratch, needed, decoded)
                self._check()

            job.prepared = prepare(job.stack, job.place, self._method, job.scratch, claim, job.report)
        return job

    def _compute(self, job: Job) -> None:
        if job.prepared is None or job.place is None or job.error:
            return
        with job.timed("compute"), _noting(job, ends_run=_stops_run):
            job.computed = compute(job.prepared, job.place, self._method, job.scratch, job.report)

    def _write(self, job: Job, end: Callable[[Job], None]) -> None:
        try:
            if job.computed is not None and job.place is not None:
                with job.timed("write"), _noting(job, ends_run=_stops_run):
                    write(job.stack, job.place, job.computed)
        finally:
            job.scratch.close()
            self._room.leave(job.folder)
        end(job)

    def _end(self, job: Job, results: Results, showing: Showing) -> None:
        self.failed += job.error is not None
        result = job.result()
        results.append(result)
        showing.tell(job.remarks.name, result)


def _submit(executor: ThreadPoolExecutor, read: Callable[[Job], Job], job: Job | None) -> Future[Job] | None:
    return None if job is None else executor.submit(read, job)


@contextlib.contextmanager
def _noting(job: Job, ends_run: Callable[[CapillaryError], bool]) -> Iterator[None]:
    """Keep a foreseen error of the block as the job's own, unless it `ends_run`; others are raised."""
    try:
        yield
    except Exception as error:
        foreseen = find_foreseen(error)
        if foreseen is None or ends_run(foreseen):
            raise
        job.error = foreseen


def _stops_reading(error: CapillaryError) -> bool:
    """A stack that cannot be read, or for which there is no room, is one stack's trouble."""
    return error.code is ExitCode.MEMORY


def _stops_run(error: CapillaryError) -> bool:
    """A disk that fills up or a crossed limit of memory would meet the next stack, too."""
    return error.code is not ExitCode.DATA and not isinstance(error, TooLargeError)
