"""The head of one task: waits for its end, shows its log, passes requests to stop on."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from capillary.places.follow import Follower
from capillary.places.lines import JobLine, format_job
from capillary.places.outcome import STOP_FILE, Ended, attempts, read_ended
from capillary.places.ray.cluster import Lost, RayCluster, Task, lacking
from capillary.places.ray.config import RayProfile
from stages.common.program.messages import get_logger

log = get_logger(__name__)

POLL_S = 0.5
_HINT_AFTER_S = 15.0


class Head:
    """Waits for `task`, the job of `folder`. `requests` grows with each request to stop that reaches this process."""

    def __init__(
        self,
        cluster: RayCluster,
        task: Task,
        folder: Path,
        profile: RayProfile,
        follower: Follower,
        requests: Sequence[int],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._cluster, self._task, self._folder = cluster, task, folder
        self._profile, self._follower, self._requests = profile, follower, requests
        self._clock = clock
        self._began_s = clock()
        self._obeyed = 0
        self._said = ""
        self._hinted = False

    def wait(self) -> Ended | Lost | str:
        """How the job ended, from its ended.json; otherwise why Ray lost it, or what a task without one returned."""
        self._tell_of("queued")
        while True:
            self._obey()
            result = self._cluster.result(self._task, POLL_S)
            self._follower.pump()
            self._tell_state()
            if result is None:
                continue
            if (ended := read_ended(self._folder)) is not None:
                self._tell_of("ended", node=ended.node)
                return ended
            return result

    def _obey(self) -> None:
        """The first request asks the job to checkpoint, or cancels it in the queue; the second kills it."""
        if len(self._requests) == self._obeyed:
            return
        self._obeyed = len(self._requests)
        (self._folder / STOP_FILE).touch()
        if self._obeyed > 1 or not list(attempts(self._folder)):
            self._cluster.cancel(self._task)
        else:
            log.info(f"task {self._task.name} is asked to checkpoint and end; Ctrl-C again kills it")

    def _tell_state(self) -> None:
        taken = list(attempts(self._folder))
        if taken:
            self._tell_of("running", node=taken[-1].node)
        elif not self._hinted and self._clock() - self._began_s > _HINT_AFTER_S:
            self._hinted = True
            self._tell_of("queued", reason=lacking(self._cluster.nodes(), self._profile) or "the cluster is busy")

    def _tell_of(self, state: str, *, reason: str = "", node: str = "") -> None:
        taken = list(attempts(self._folder))
        key = f"{state} {reason} {len(taken)}"
        if key == self._said:
            return
        self._said = key
        waited_s = (taken[0].started if taken else self._clock()) - self._began_s
        line = JobLine(
            job=self._task.name,
            state=state,
            reason=reason,
            node=node,
            waited_s=max(0.0, waited_s),
            retries=max(len(taken) - 1, 0),
        )
        log.info(format_job(line))
