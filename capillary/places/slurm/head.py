"""The head of one job: waits for its end, shows its log, passes requests to stop on."""

import contextlib
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from capillary.lifetimes.stop import Stop
from capillary.places.follow import Follower
from capillary.places.lines import JobLine, format_job
from capillary.places.outcome import REQUEUED_FILE, STOP_FILE, Ended, attempts, read_ended
from capillary.places.slurm import queue
from capillary.places.slurm.script import NO_ROOM, ROOM
from capillary.places.slurm.submitted import Submitted
from capillary.places.slurm.watch import Watch
from stages.common.errors import ExitCode
from stages.common.program.messages import get_logger

log = get_logger(__name__)

POLL_S = 0.5  # between two looks into the folder, which cost the cluster's controller nothing
CANCELLED = "CANCELLED"
DETACHED = "DETACHED"


@dataclass(frozen=True, kw_only=True)
class Requests:
    """Requests to stop this head: `delivered` holds their signals in order."""

    stop: Stop
    delivered: Sequence[int]

    @property
    def exit_code(self) -> int:
        """128 + the first signal's number; 0 when nobody asked."""
        return self.stop.exit_code

    @property
    def leave(self) -> bool:
        """The head is to end, and the job to continue: a closed terminal, a caller that is gone, SIGTERM."""
        return bool(self.delivered) and self.delivered[0] != signal.SIGINT

    @property
    def stop_job(self) -> bool:
        """Ctrl-C."""
        return bool(self.delivered) and self.delivered[0] == signal.SIGINT

    @property
    def stop_at_once(self) -> bool:
        """Ctrl-C again."""
        return self.stop_job and len(self.delivered) > 1


class Head:
    """Waits for the job `submitted` of `folder`."""

    def __init__(self, folder: Path, submitted: Submitted, follower: Follower, requests: Requests) -> None:
        self._folder = folder
        self._job = submitted
        self._follower = follower
        self._requests = requests
        self._asked = False
        self._watch = Watch(min_job_age_s=queue.min_job_age_s(), seen_s=submitted.at)
        self._info: queue.JobInfo | None = None
        self._said = ""
        self._hastened = 0
        self._silent = False

    def wait(self) -> Ended | str:
        """How the job ended, from its ended.json or from Slurm; DETACHED if it continues without this head."""
        next_question_s = 0.0
        while True:
            self._follower.pump()
            if (ended := read_ended(self._folder)) is not None:
                self._follower.pump()
                self._tell_of("ended", node=ended.node)
                return ended
            if word := self._obey():
                return word
            if time.time() >= next_question_s:
                if word := self._question():
                    self._follower.catch_up()
                    self._follower.pump()
                    return self._look_again() or self._without_room() or word
                next_question_s = time.time() + self._watch.delay_s
            time.sleep(POLL_S)

    def _look_again(self) -> Ended | None:
        """The job's ended.json, looked for once more: results without it are removed.

        NFS remembers for up to a minute that a file was not there, and asks its server when the folder is opened.
        """
        with contextlib.suppress(OSError):
            os.listdir(self._folder)  # noqa: PTH208 - to be opened is enough
        if (ended := read_ended(self._folder)) is not None:
            self._tell_of("ended", node=ended.node)
        return ended

    def _without_room(self) -> Ended | None:
        """The end of a job whose node could not even hold what its script brings along (script.apart_script)."""
        info = self._info
        if info is None or not info.is_terminal or info.code != NO_ROOM:
            return None
        self._tell_of("ended", node=info.node)
        return Ended(code=ExitCode.MACHINE, node=info.node, started=self._job.at, ended=time.time(), full=ROOM)

    def _obey(self) -> str | None:
        """Do what this head was asked; returns how the job ended if that ends it."""
        if self._requests.leave:
            log.info(
                f"job {self._job.job} keeps running; the same command finds it again, capillary jobs cancel ends it"
            )
            return DETACHED
        if self._requests.stop_at_once:
            if not (refusal := queue.cancel(self._job.job)):
                return CANCELLED
            log.warning(f"Slurm did not cancel job {self._job.job}, which may keep running: {refusal}")
            return DETACHED  # its folder stays
        if self._requests.stop_job and not self._asked:
            self._asked = True
            self._ask_to_stop()
        return None

    def _question(self) -> str | None:
        answer = queue.ask(self._job.job)
        self._tell_silence(answer)
        if isinstance(answer, queue.JobInfo):
            self._info = answer
            self._tell_state(answer)
            self._hasten(answer)
            if self._asked and answer.is_pending:  # the signal went to a job that waits, which takes none
                queue.cancel(self._job.job)
        return self._watch.take(answer, time.time())

    def _ask_to_stop(self) -> None:
        """A running job checkpoints and ends; one that waits has nothing to save."""
        (self._folder / STOP_FILE).touch()
        self._follower.tell_to_end()
        if self._info is not None and self._info.is_pending:
            queue.cancel(self._job.job)
        else:
            log.info(f"job {self._job.job} is asked to checkpoint and end; Ctrl-C again cancels it at once")
            queue.ask_to_checkpoint(self._job.job)

    def _hasten(self, info: queue.JobInfo) -> None:
        """After a requeue at the time limit Slurm holds a job for two minutes, which only a lost node needs."""
        if info.is_pending and info.reason == "BeginTime" and info.restarts > self._hastened:
            self._hastened = info.restarts
            self._follower.catch_up()
            if (self._folder / REQUEUED_FILE).exists():
                queue.start_now(self._job.job)

    def _tell_state(self, info: queue.JobInfo) -> None:
        if info.is_pending:
            self._tell_of("queued", reason=info.reason)
        elif info.state == "RUNNING":
            self._tell_of("running", node=info.node)

    def _tell_of(self, state: str, *, reason: str = "", node: str = "") -> None:
        key = f"{state} {reason} {node} {self._info.restarts if self._info else 0}"
        if key == self._said:
            return
        self._said = key
        taken = list(attempts(self._folder))
        waited_s = (taken[0].started if taken else time.time()) - self._job.at
        retries = max(len(taken) - 1, self._info.restarts if self._info else 0, 0)
        line = JobLine(
            job=self._job.job,
            state=state,
            reason=reason,
            node=node,
            waited_s=max(0.0, waited_s),
            retries=retries,
        )
        log.info(format_job(line))

    def _tell_silence(self, answer: queue.JobInfo | queue.NoAnswer) -> None:
        silent = answer is queue.NoAnswer.SILENT
        if silent and not self._silent:
            log.warning(
                f"Slurm does not answer about job {self._job.job}; the job keeps running, and this command waits"
            )
        self._silent = silent
