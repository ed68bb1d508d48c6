"""How a request to stop reaches the processes of a training, and how they report a failure.

Signals and the memory guard are the supervising process's: its workers see the request in shared memory, so that none
of them can miss it while it starts.
"""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator

from stages.common.errors import CapillaryError
from stages.common.lifetimes.signals import ignore_ctrl_c
from stages.common.monitoring.memory_guard import Crossing, MemoryGuard
from stages.train.resuming.interrupt import Interrupt

RELAY_S = 0.1
_SIGNAL, _LIMIT_GB, _MEASURED_GB = range(3)


class StopChannel:
    """Shared memory of the supervising process and its workers. It crosses to them as an argument."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._values = context.RawArray("d", 3)
        self._reports = context.SimpleQueue()
        self._lead_is_done = context.Event()

    def post(self, interrupt: Interrupt) -> None:
        """Tell the workers why `interrupt` asks; of a crossing the limit last, since it is what they look at."""
        if interrupt.received is not None:
            self._values[_SIGNAL] = interrupt.received
        if (crossing := interrupt.crossing) is not None:
            self._values[_MEASURED_GB] = crossing.measured_gb
            self._values[_LIMIT_GB] = crossing.limit_gb

    @property
    def received(self) -> signal.Signals | None:
        """The signal that the supervising process received."""
        return signal.Signals(int(self._values[_SIGNAL])) if self._values[_SIGNAL] else None

    @property
    def crossing(self) -> Crossing | None:
        """What the supervising process's memory guard saw."""
        limit_gb, measured_gb = self._values[_LIMIT_GB], self._values[_MEASURED_GB]
        return Crossing(limit_gb=limit_gb, measured_gb=measured_gb) if limit_gb else None

    def report(self, error: CapillaryError) -> None:
        """Called by a worker that ends with `error`."""
        self._reports.put(error)

    def reported(self) -> CapillaryError | None:
        """What a worker reported first, if one did."""
        return None if self._reports.empty() else self._reports.get()

    def lead_is_done(self) -> None:
        """Called by rank 0 at its end, however it comes."""
        self._lead_is_done.set()

    def wait_for_lead(self, patience_s: float) -> None:
        """Return when rank 0 is done, or after `patience_s`."""
        self._lead_is_done.wait(patience_s)


class RelayedInterrupt(Interrupt):
    """The supervising process's requests, as a worker sees them."""

    def __init__(self, board: StopChannel) -> None:
        self._relayed = MemoryGuard()
        super().__init__(self._relayed)
        self._board = board

    @property
    def asked(self) -> bool:
        """Whether anybody asked the supervising process to stop."""
        self._look()
        return super().asked

    def _look(self) -> None:
        self.received, self._relayed.crossing = self._board.received, self._board.crossing


@contextlib.contextmanager
def relaying(interrupt: Interrupt) -> Iterator[StopChannel]:
    """A board on which the requests of `interrupt` appear within the block."""
    board, done = StopChannel(), threading.Event()

    def relay() -> None:
        while not done.wait(RELAY_S):
            board.post(interrupt)

    thread = threading.Thread(target=relay, name="relay of requests to stop", daemon=True)
    thread.start()
    try:
        yield board
    finally:
        done.set()
        thread.join()


def live_and_die_with_parent() -> None:
    """For a worker: the terminal's Ctrl-C is the supervising process's to judge, and its end is this process's, too."""
    ignore_ctrl_c()
    parent = multiprocessing.parent_process()
    assert parent is not None, "a worker is started by multiprocessing"

    def follow() -> None:
        parent.join()
        os._exit(1)  # whatever it computes or waits for: nobody is left to take it

    threading.Thread(target=follow, name="follows its parent", daemon=True).start()
