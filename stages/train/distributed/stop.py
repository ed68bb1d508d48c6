"""How a request to stop reaches the processes of a training, and how they learn that another one has failed.

Signals and the memory guard are the supervising process's: its workers see the request in shared memory, so that none
of them can miss it while it starts.
"""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator

from stages.common.memory_guard import Crossing, MemoryGuard
from stages.train.resuming.interrupt import Interrupt

RELAY_S = 0.1
_SIGNAL, _LIMIT_GB, _MEASURED_GB, _FAILED = range(4)


class Board:
    """Shared memory of the supervising process and its workers. It crosses to them as an argument."""

    def __init__(self) -> None:
        self._values = multiprocessing.get_context("spawn").RawArray("d", 4)

    def post(self, interrupt: Interrupt) -> None:
        """Tell the workers why `interrupt` asks; the signal last, since it is what they look at."""
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

    @property
    def failed(self) -> bool:
        """Whether a worker ended with a failure that it reports."""
        return bool(self._values[_FAILED])

    def note_failure(self) -> None:
        """Called by the worker that reports it, before the others can notice that it is gone."""
        self._values[_FAILED] = 1


class RelayedInterrupt(Interrupt):
    """The supervising process's requests, as a worker sees them."""

    def __init__(self, board: Board) -> None:
        self._relayed = MemoryGuard()
        super().__init__(self._relayed)
        self._board = board

    @property
    def asked(self) -> bool:
        """Whether anybody asked the supervising process to stop."""
        self.received, self._relayed.crossing = self._board.received, self._board.crossing
        return super().asked


@contextlib.contextmanager
def relaying(interrupt: Interrupt) -> Iterator[Board]:
    """A board on which the requests of `interrupt` appear within the block."""
    board, done = Board(), threading.Event()

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
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None, "a worker is started by multiprocessing"

    def follow() -> None:
        parent.join()
        os._exit(1)  # whatever it computes or waits for: nobody is left to take it

    threading.Thread(target=follow, name="follows its parent", daemon=True).start()
