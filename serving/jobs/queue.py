"""The queue: takes jobs up to a bound, hands them to the model one at a time, forgets old ones."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from serving.failures import Refusal
from serving.figures import Figures
from serving.jobs.record import MOST_ATTEMPTS, Failure, Job, Request, Result, Served, State
from serving.jobs.store import JobStore
from stages.common.errors import CapillaryError
from stages.common.program.messages import get_logger

log = get_logger(__name__)

SWEEP_S = 60.0
DISK_PAUSE_S = 5.0  # after a disk that took no record
USUAL_S = 30.0  # a guess of a stack's time before the first one is done


class WorkerLostError(Exception):
    """The worker process ended in the middle of a job."""


class Segmenter(Protocol):
    """What segments a stack; serving.models.keeper.Models is one."""

    async def segment(self, job: Job, folder: Path, note: "Note") -> tuple[Served, Result]:
        """Leave the mask in `folder`. Raises CapillaryError for a bad stack, WorkerLostError for a lost process."""


class Note(Protocol):
    """Where progress goes: a share from 0 to 1."""

    def __call__(self, progress: float, /) -> None: ...


class Queue:
    """Jobs in the order in which they came. `most` may wait at a time, `per_owner` of one token."""

    def __init__(self, store: JobStore, segmenter: Segmenter, figures: Figures, *, most: int, per_owner: int) -> None:
        self.store = store
        self._segmenter, self._figures, self._most, self._per_owner = segmenter, figures, most, per_owner
        self._wake = asyncio.Event()
        self._arriving: Counter[str] = Counter()  # by owner
        self._ended: dict[str, asyncio.Event] = {}
        self._running: asyncio.Task[None] | None = None
        self._running_id: str | None = None
        self._mean_s = USUAL_S
        self._drained_by: float | None = None  # on the monotonic clock, once it drains
        self.draining = False

    def refuse_when_full(self, owner: str) -> None:
        """Raise Refusal before a body is read: 503 while draining, 429 when the queue or the owner's share is full."""
        if self.draining:
            raise Refusal(503, "the service is shutting down", "send it again in a minute", {"Retry-After": "60"})
        waiting = self._waiting()
        if len(waiting) >= self._most:
            raise self._too_many(f"{len(waiting)} stacks are already waiting", len(waiting))
        own = [job for job in waiting if job.owner == owner]
        if len(own) >= self._per_owner:
            raise self._too_many(f"{len(own)} of your stacks are already waiting", len(own))

    @contextlib.contextmanager
    def arriving(self, owner: str) -> Iterator[None]:
        """A place in the queue while a body is read. Raises Refusal as refuse_when_full, before anything is read.

        Bodies on their way count as stacks that wait, or one token could fill the disk with what is refused at its end.
        """
        self.refuse_when_full(owner)
        ahead, own = self._arriving.total() + self.length(), self._arriving[owner]
        if ahead >= self._most:
            raise self._too_many(f"{ahead} stacks already wait or arrive", ahead)
        if (own := own + sum(job.owner == owner for job in self._waiting())) >= self._per_owner:
            raise self._too_many(f"{own} of your stacks already wait or arrive", own)
        self._arriving[owner] += 1
        try:
            yield
        finally:
            self._arriving[owner] -= 1

    def submit(self, job_id: str, owner: str, request: Request, incoming: Path) -> Job:
        """Accept the job whose files are in `incoming`."""
        self.refuse_when_full(owner)  # others came while the body was read
        job = Job(id=job_id, owner=owner, request=request, created=time.time())
        self.store.accept(job, incoming)
        self._figures.accepted.inc()
        self._wake.set()
        return job

    async def wait(self, job_id: str, seconds: float) -> Job | None:
        """The job once it ended, or as it is after `seconds`."""
        event = self._ended.setdefault(job_id, asyncio.Event())
        job = self.store.get(job_id)
        if job is not None and not job.state.has_ended:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(event.wait(), seconds)
        self._ended.pop(job_id, None)
        return self.store.get(job_id)

    def length(self) -> int:
        """How many jobs wait."""
        return len(self._waiting())

    def places(self) -> dict[str, int]:
        """How many wait before each job that waits, by its id."""
        return {job.id: place for place, job in enumerate(self._waiting())}

    def cancel(self, job: Job) -> Job:
        """End a job that waits or runs."""
        ended = self._finish(job, State.CANCELLED)
        if self._running is not None and self._running_id == job.id:
            self._running.cancel()
        return ended

    async def work(self) -> None:
        """Take jobs in turn until this task is cancelled or the queue drains."""
        while not self.draining:
            waiting = self._waiting()
            if not waiting:
                self._wake.clear()
                await self._wake.wait()
                continue
            self._running_id = waiting[0].id
            self._running = asyncio.create_task(self._run(waiting[0]))
            await asyncio.wait({self._running})
            lost = None if self._running.cancelled() else self._running.exception()
            self._running, self._running_id = None, None
            if isinstance(lost, OSError):  # a full disk is for the operator to see, and no reason to end the queue
                log.warning(f"job {waiting[0].id} waits, because its record cannot be written: {lost}")
                self.store.hold(waiting[0])
                await asyncio.sleep(DISK_PAUSE_S)
            elif lost is not None:
                raise lost

    async def sweep(self, keep_s: float) -> None:
        """Now and then, remove what ended more than `keep_s` ago, and take over what other services left."""
        while True:
            try:
                if taken := self.store.adopt():
                    log.info(f"{taken} jobs of a service that ended were taken over")
                    self._wake.set()
                self.remove_old(time.time() - keep_s)
            except OSError as error:
                log.warning(f"old jobs cannot be removed or taken over: {error}")
            await asyncio.sleep(SWEEP_S)

    def remove_old(self, before: float) -> None:
        """Remove what ended before that moment."""
        for job in self.store.all():
            if job.state.has_ended and (job.ended or job.created) < before:
                self.store.remove(job.id)

    async def drain(self, grace_s: float) -> None:
        """Take no more; let the running job end within `grace_s`, else it waits on disk for the next start.

        A second call waits until the first one's time is over, no longer.
        """
        now = time.monotonic()
        self._drained_by = now + grace_s if self._drained_by is None else self._drained_by
        self.draining = True
        self._wake.set()
        if (running := self._running) is not None:  # work() forgets it at its end
            await asyncio.wait({running}, timeout=max(0.0, self._drained_by - now))
            running.cancel()
            await asyncio.wait({running})  # until it is back in the queue

    def _waiting(self) -> list[Job]:
        return [job for job in self.store.all() if job.state is State.QUEUED]

    def _too_many(self, what: str, ahead: int) -> Refusal:
        seconds = max(1, round(self._mean_s * min(ahead, 10)))
        return Refusal(429, what, f"send it again in {seconds} s", {"Retry-After": str(seconds)})

    async def _run(self, queued: Job) -> None:
        """Run one job to an end, or back into the queue when its worker was lost."""
        began = time.time()
        job = self.store.save(
            queued.model_copy(update={"state": State.RUNNING, "started": began, "attempts": queued.attempts + 1})
        )
        try:
            model, result = await self._segmenter.segment(
                job, self.store.folder(job.id), lambda share: self.store.note_progress(job.id, share)
            )
        except CapillaryError as error:
            self._finish(job, State.FAILED, failure=Failure(what=error.what, remedy=error.remedy))
        except WorkerLostError:
            self._lost(job)
        except asyncio.CancelledError:
            if self.store.owns(job.id) and not self._state(job.id).has_ended:  # drained, not cancelled
                self.store.save(queued)
            raise
        else:
            self._mean_s = 0.7 * self._mean_s + 0.3 * (time.time() - began)
            self._figures.seconds.observe(time.time() - began)
            self._finish(job, State.DONE, model=model, result=result, progress=1.0)

    def _state(self, job_id: str) -> State:
        job = self.store.get(job_id)
        return State.CANCELLED if job is None else job.state

    def _lost(self, job: Job) -> None:
        if self._state(job.id).has_ended:
            return
        if job.attempts < MOST_ATTEMPTS:
            log.warning(f"job {job.id}: its process ended; it runs again ({job.attempts} of {MOST_ATTEMPTS})")
            self.store.save(job.model_copy(update={"state": State.QUEUED, "progress": 0.0, "started": None}))
            return
        what = f"the segmenting process died {job.attempts} times on this stack"
        self._finish(job, State.FAILED, failure=Failure(what=what, remedy="send a smaller part of the stack"))

    def _finish(self, job: Job, state: State, **fields: object) -> Job:
        if not self.store.owns(job.id):
            return job
        ended = self.store.save(job.model_copy(update={"state": state, "ended": time.time(), **fields}))
        self._figures.ended.labels(state=state.value).inc()
        if (event := self._ended.get(job.id)) is not None:
            event.set()
        return ended
