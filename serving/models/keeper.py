"""Which model answers: starts it, watches the alias, lets a new one take over, keeps the previous one's name."""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from serving.figures import Figures
from serving.jobs.queue import Note, WorkerLostError
from serving.jobs.record import Job, Result, Served
from serving.models.process import WORKER_ARGV, Worker
from stages.common.errors import CapillaryError, UsageError
from stages.common.program.messages import get_logger

log = get_logger(__name__)

RETRY_S = 5.0


class Models:
    """The worker that answers, and the one that is about to.

    A swap: a second process loads the new networks and segments a test stack. Then the next job goes to it; a job that
    runs ends on the process that began it. A model that fails leaves everything as it was, and is not tried again
    until the alias moves on.
    """

    def __init__(
        self,
        reference: str,
        environment: Mapping[str, str],
        figures: Figures,
        *,
        argv: Sequence[str] = WORKER_ARGV,
    ) -> None:
        self._reference, self._environment, self._figures, self._argv = reference, environment, figures, argv
        self._current: Worker | None = None
        self._pinned = ""  # what the current worker was started on, with versions
        self._previous = ""
        self._left_by_hand = ""  # what the alias led to when somebody went back: not taken again by itself
        self._failed = ""
        self._busy: dict[Worker, int] = {}
        self._swap_lock = asyncio.Lock()
        self._lost = asyncio.Event()
        self.failure: str | None = None

    @property
    def served(self) -> Served | None:
        """The model that answers, None while there is none."""
        return self._current.served if self._current is not None and self._current.is_alive else None

    @property
    def previous(self) -> str:
        """What answered before, as a reference; empty if nothing did."""
        return self._previous

    async def segment(self, job: Job, folder: Path, note: Note) -> tuple[Served, Result]:
        """Segment a stack with the model that answers now; see serving.jobs.queue.Segmenter."""
        worker = await self._available()
        assert worker.served is not None
        self._busy[worker] = self._busy.get(worker, 0) + 1
        try:
            return worker.served, await worker.segment(job, folder, note)
        finally:
            self._busy[worker] -= 1
            if not worker.is_alive:
                self._lost.set()
            if worker is not self._current:
                await self._retire(worker)

    async def watch(self, every_s: float) -> None:
        """Start the model, follow its alias, start it again when its process ends; until cancelled."""
        while True:
            try:
                await self._follow()
                if not self._failed:
                    self.failure = None
            except CapillaryError as error:
                self._failed_because(error.what, f"; remedy: {error.remedy}")
            except (WorkerLostError, TimeoutError):
                self._failed_because("the model's process was lost")
            except OSError as error:  # of starting a process: no memory, too many files
                self._failed_because(f"its process cannot be started: {error}")
            # not wait_for: Python 3.11's swallows a cancellation that comes with the event, and SIGTERM ends nothing
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(every_s if self.served is not None else min(every_s, RETRY_S)):
                    await self._lost.wait()
            self._lost.clear()

    async def go_back(self) -> Served:
        """Let the previous model answer again, until the alias moves on. Raises CapillaryError if there is none."""
        if not self._previous:
            raise UsageError("the service has no previous model", remedy="promote another training first")
        self._left_by_hand = self._pinned
        await self._swap_to(self._previous)
        served = self.served
        assert served is not None
        return served

    async def end(self) -> None:
        """End every worker."""
        for worker in {*self._busy, *([self._current] if self._current else [])}:
            await worker.end()

    def _failed_because(self, what: str, remedy: str = "") -> None:
        """Keep the reason, and log it once: the same one may come back every few seconds."""
        if what != self.failure:
            log.warning(f"model: {what}{remedy}")
        self.failure = what

    async def _follow(self) -> None:
        if self.served is None:
            await self._start_again()
            return
        assert self._current is not None
        target = await self._current.resolve(self._reference)
        # once the alias has moved on, what was left or failed may come again
        self._left_by_hand = self._left_by_hand if target == self._left_by_hand else ""
        self._failed = self._failed if target == self._failed else ""
        if target not in (self._pinned, self._left_by_hand, self._failed):
            await self._swap_to(target)

    async def _start_again(self) -> None:
        """What answered before; where that is gone, what the alias leads to, unless somebody left that by hand."""
        try:
            await self._swap_to(self._pinned or self._reference)
        except CapillaryError:
            if not self._pinned or self._left_by_hand:
                raise
            await self._swap_to(self._reference)

    async def _swap_to(self, reference: str) -> None:
        async with self._swap_lock:
            try:
                worker = await Worker.start(reference, self._argv, self._environment)
            except (CapillaryError, WorkerLostError):
                self._failed = reference if self.served is not None else ""
                self._figures.refused_models.inc()
                raise
            former, former_pinned = self._current, self._pinned
            self._current, self._pinned, self._failed = worker, worker.pinned, ""
            if former_pinned not in ("", worker.pinned):
                self._previous = former_pinned
                self._figures.swaps.inc()
            self._show(worker)
            if former is not None and not self._busy.get(former):
                await self._retire(former)

    def _show(self, worker: Worker) -> None:
        served = worker.served
        assert served is not None
        self._figures.model.clear()
        self._figures.model.labels(name=served.name, version=served.version, sha256=served.weights_sha256).set(1)
        log.info(f"{served.name} version {served.version} answers (weights {served.weights_sha256[:12]})")

    async def _available(self) -> Worker:
        while self._current is None or not self._current.is_alive:
            await asyncio.sleep(0.2)  # watch starts it again
        return self._current

    async def _retire(self, worker: Worker) -> None:
        if not self._busy.get(worker):
            self._busy.pop(worker, None)
            await worker.end()
