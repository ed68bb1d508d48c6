"""The parent's side of a worker: starts it, hands it stacks, reads its answers, ends it."""

import asyncio
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import ValidationError

from serving.jobs.queue import Note, WorkerLostError
from serving.jobs.record import Job, Result, Served
from serving.models.messages import LONGEST_LINE, Answer, Resolve, Segment, line_of
from stages.common.errors import CapillaryError, DataError, ServiceError
from stages.common.lifetimes.signals import signal_group

WORKER_ARGV = (sys.executable, "-P", "-m", "serving.worker")
RESOLVE_S = 60.0


class Worker:
    """A process with networks in memory. Once `start` returned, `served` says which, and `pinned` is the
    reference to exactly these."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._answers: asyncio.Queue[Answer | None] = asyncio.Queue()
        self._resolved: asyncio.Queue[Answer | None] = asyncio.Queue()
        self._asked = 0
        self._reader = asyncio.create_task(self._read())
        self.served: Served | None = None
        self.pinned = ""

    @classmethod
    async def start(cls, reference: str, argv: Sequence[str], environment: Mapping[str, str]) -> "Worker":
        """Start a process on the networks of `reference`, and wait until it passed its self-test.

        Raises CapillaryError with the process' own reason when it does not.
        """
        process = await asyncio.create_subprocess_exec(
            *argv,
            reference,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=LONGEST_LINE,
            start_new_session=True,  # Ctrl-C reaches the service, which lets the stack end
            env=dict(environment),
        )
        worker = cls(process)
        try:
            answer = await worker._answer()
        except WorkerLostError:
            raise _no_model(f"the process of {reference or 'the default model'} ended before it was ready") from None
        except asyncio.CancelledError:
            await worker.end()
            raise
        if answer.ready is None:
            await worker.end()
            raise _error(answer)
        worker.served, worker.pinned = answer.ready, answer.pinned
        return worker

    @property
    def is_alive(self) -> bool:
        """Whether the process still runs."""
        return self._process.returncode is None

    async def segment(self, job: Job, folder: Path, note: Note) -> Result:
        """Segment one stack. Cancelled, it ends the process: a network cannot be stopped in the middle otherwise."""
        request = job.request.model_dump(mode="json")
        try:
            await self._send(line_of(Segment(job=job.id, folder=str(folder), request=request)))
            while True:
                answer = await self._answer()
                if answer.job != job.id:
                    continue
                if answer.progress is not None:
                    note(answer.progress)
                elif answer.result is not None:
                    return answer.result
                else:
                    raise _error(answer)
        except asyncio.CancelledError:
            await self.end()  # the next stack must not go to a process that is about to be gone
            raise

    async def resolve(self, reference: str) -> str:
        """What `reference` leads to now, as one that names versions. Raises CapillaryError, WorkerLostError."""
        self._asked += 1
        await self._send(line_of(Resolve(reference=reference, number=self._asked)))
        try:
            async with asyncio.timeout(RESOLVE_S):
                answer = await self._resolution()
        except TimeoutError:
            raise _no_model(f"the registry did not answer within {RESOLVE_S:g} s") from None
        if answer.resolved is None:
            raise _no_model(answer.unresolved or "the registry did not answer")
        return answer.resolved

    async def _resolution(self) -> Answer:
        """The answer to the last question; one to a question before it is passed over."""
        while (answer := await self._resolved.get()) is not None:
            if answer.number == self._asked:
                return answer
        raise WorkerLostError

    async def end(self) -> None:
        """End the process; returns when it is gone."""
        self._kill()
        await self._process.wait()
        await self._reader

    def _kill(self) -> None:
        if self.is_alive:
            signal_group(self._process.pid, signal.SIGKILL)  # its loader processes, too

    async def _send(self, line: bytes) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line)
            await self._process.stdin.drain()
        except (BrokenPipeError, ConnectionResetError):
            self._kill()
            await self._process.wait()
            raise WorkerLostError from None

    async def _answer(self) -> Answer:
        answer = await self._answers.get()
        if answer is None:
            self._answers.put_nowait(None)  # for whoever asks next
            raise WorkerLostError
        return answer

    async def _read(self) -> None:
        assert self._process.stdout is not None
        try:
            while line := await self._process.stdout.readline():
                answer = Answer.model_validate_json(line)
                is_resolved = answer.resolved is not None or answer.unresolved is not None
                (self._resolved if is_resolved else self._answers).put_nowait(answer)
        except (ValidationError, ValueError):
            self._kill()  # it does not speak our language: nothing that it says can be believed
        finally:
            self._kill()
            await self._process.wait()  # whoever hears of the end finds `is_alive` false
            self._answers.put_nowait(None)
            self._resolved.put_nowait(None)


def _error(answer: Answer) -> CapillaryError:
    failure = answer.failure or {}
    return DataError(
        str(failure.get("what", "the worker gave no reason")),
        remedy=str(failure.get("remedy", "look at the service's log")),
    )


def _no_model(what: str) -> CapillaryError:
    return ServiceError(what, remedy="look at the service's log above this line")
