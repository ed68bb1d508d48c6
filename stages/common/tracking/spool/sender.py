"""The thread that sends a run while its stage works. It never holds the stage up, and never fails it."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO

from stages.common.errors import CapillaryError, machine_error
from stages.common.program.messages import get_logger
from stages.common.tracking.server import redact
from stages.common.tracking.spool.destination import Destination
from stages.common.tracking.spool.folder import Spool
from stages.common.tracking.spool.sending import ANSWER_PATIENCE_S, Sending

log = get_logger(__name__)

FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
POLL_S = 0.1
CLOSING_S = 5.0
LOCAL_PATIENCE_S = 600.0


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Whether everything is sent; `failure` says why not, None if the time was over or nobody was asked."""

    is_sent: bool
    failure: CapillaryError | None = None
    refused: int = 0


class Sender:
    """Sends `spool` in the background from `start` on."""

    def __init__(self, spool: Spool, destination: Destination, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._place = redact(destination.server.uri)
        self._is_local = destination.server.uri.startswith("sqlite:///")
        self._sending = Sending(spool, destination, self._answered)
        self._wake = threading.Condition()
        self._asked, self._done = 0, -1  # how often something was added, and up to which time all was sent
        self._deadline = clock() + ANSWER_PATIENCE_S
        self._pause_s = FIRST_PAUSE_S
        self._hurry = False
        self._failure: CapillaryError | None = None
        self._lock: IO[bytes] | None = None
        self._is_closed = False
        self._spool = spool
        self.attached = False
        self._thread = threading.Thread(target=self._work, name="tracking", daemon=True)

    @property
    def failure(self) -> CapillaryError | None:
        """Why the last attempt failed, None after one that did not."""
        return self._failure

    @property
    def run_id(self) -> str:
        """The server's run, empty as long as there is none."""
        return self._sending.run_id

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """Send no more. What hangs in a question that nobody answers ends with the process."""
        with self._wake:
            self._is_closed = True
            self._wake.notify()
        self._thread.join(CLOSING_S if self._is_done() else POLL_S)

    def added(self) -> None:
        """Something was added to the spool."""
        with self._wake:
            self._asked += 1
            self._wake.notify()

    def settle(
        self,
        stopped: Callable[[], bool],
        *,
        most_s: float = float("inf"),
        enough: Callable[[], bool] | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> Outcome:
        """Wait until everything is sent (or `enough`), as long as answers come, for `most_s` and until `stopped`."""
        self._hurry = True  # also where it pauses: the server may be back
        self.added()
        started = self._clock()
        self._deadline = max(self._deadline, started + ANSWER_PATIENCE_S)
        while not (is_enough := (enough or self._is_done)()):
            now = self._clock()
            if stopped() or now > min(self._last_moment(), started + most_s) or not self._thread.is_alive():
                break
            sleep(POLL_S)
        self._hurry = False
        return Outcome(is_sent=is_enough, failure=self._failure, refused=self._sending.refused)

    def _last_moment(self) -> float:
        """A store that is a file of this disk is as busy as the machine is, unless it fails."""
        is_busy = self._is_local and self._failure is None
        return self._deadline + (LOCAL_PATIENCE_S if is_busy else 0.0)

    def _is_done(self) -> bool:
        return self._done == self._asked

    def _answered(self, patience_s: float) -> None:
        self._deadline = self._clock() + patience_s

    def _work(self) -> None:
        try:
            while True:
                with self._wake:
                    self._wake.wait_for(lambda: self._is_closed or self._done != self._asked)
                if self._is_closed:
                    return
                if not self.attempt():
                    self._rest()
        finally:
            if self._lock is not None:
                self._lock.close()

    def _rest(self) -> None:
        """Pause, not longer than a second where somebody waits for the end."""
        until = self._clock() + self._pause_s
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
        while (left_s := until - self._clock()) > 0 and not self._hurry and not self._is_closed:
            time.sleep(min(left_s, POLL_S))
        if self._hurry and not self._is_closed:
            time.sleep(FIRST_PAUSE_S)

    def attempt(self) -> bool:
        """Send once; whether everything that was added before is sent."""
        asked = self._asked
        if self._lock is None and (lock := self._spool.lock("sender")) is None:
            return False  # `capillary sync` sends it just now
        self._lock = self._lock or lock
        try:
            self._sending.attach()
            self.attached = True
            self._sending.send()
        except CapillaryError as error:
            self._failed(error)
            return False
        except OSError as error:
            known = machine_error(error)
            if known is None:
                raise
            self._failed(known)
            return False
        if self._failure is not None:
            log.info(f"MLflow at {self._place} answers again: what waited is published")
        self._failure, self._pause_s, self._done = None, FIRST_PAUSE_S, asked
        return True

    def _failed(self, error: CapillaryError) -> None:
        """Say it, once for each kind of failure."""
        if self._failure is None or self._failure.what != error.what:
            why = "" if error.value is None else f" ({error.value})"
            log.warning(
                f"{error.what}{why}: the work continues, and its record waits on this disk. Remedy: {error.remedy}"
            )
        self._failure = error
