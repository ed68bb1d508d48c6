"""Lineage around a stage: in its own thread, so that it neither fails a stage nor makes it wait."""

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from capillary.lineage.stage_run import StageRun, ending_of
from capillary.settings import Settings
from stages.common.progress import say
from stages.common.text import visible
from stages.common.tracking.address import without_login

LIMIT_S = 2.0  # that the end of a stage may wait for its events, all in all
KEY = "OPENLINEAGE_API_KEY"
Step = Callable[[], None]


@contextlib.contextmanager
def recorded(run: Callable[[], StageRun], settings: Settings, is_first: Callable[[], bool]) -> Iterator[list[int]]:
    """A block in which a stage runs; it appends the exit code to the list that it is given.

    Nothing happens unless CAPILLARY_LINEAGE is set. What goes wrong is said where `is_first` agrees: once in a run.
    """
    codes: list[int] = []
    if settings.lineage is None:
        yield codes
        return
    courier = _EventThread(settings, run())
    try:
        yield codes
    finally:
        fault = courier.finish(codes[-1] if codes else 1)
        if fault and is_first():
            say(f"note: no lineage ({without_login(settings.lineage)}): {fault}; stages run without it")


class _EventThread:
    """A daemon thread that loads the client, then sends what it is given. Whatever fails there ends it, and is kept."""

    def __init__(self, settings: Settings, run: StageRun) -> None:
        self._settings, self._run = settings, run
        self._endings: queue.SimpleQueue[tuple[int, datetime]] = queue.SimpleQueue()
        self._fault = ""
        self._started = datetime.now(UTC)
        self._thread = threading.Thread(target=self._work, name="lineage", daemon=True)
        self._thread.start()

    def finish(self, code: int) -> str:
        """Send the last event; what went wrong, empty for nothing. Waits LIMIT_S at most."""
        self._endings.put((code, datetime.now(UTC)))
        deadline = time.monotonic() + LIMIT_S
        self._thread.join(max(0.0, deadline - time.monotonic()))
        return f"no answer within {LIMIT_S:g} s" if self._thread.is_alive() else self._fault

    def _work(self) -> None:
        try:
            self._send()
        except ImportError as error:
            self._fault = f"{error.name or error} is not installed (./just setup lineage)"
        except Exception as error:  # noqa: BLE001 - lineage must not fail a stage: what it was is said at the end
            self._fault = visible(without_login(f"{type(error).__name__}: {error}"))[:300]

    def _send(self) -> None:
        from capillary.lineage.events import Events
        from capillary.lineage.sending import sink_of

        assert self._settings.lineage is not None
        sink = sink_of(self._settings.lineage, self._settings.variables.get(KEY, ""), self._run.root)
        events = Events(self._run)
        sink.emit(events.start(self._started))
        code, at = self._endings.get()
        sink.emit(events.end(ending_of(code), code, at))
