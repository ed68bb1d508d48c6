"""Requests to stop: signals, and the end of the process that asked for the stage."""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from types import FrameType

from capillary.launcher import caller

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stop:
    """Whether this launcher was asked to stop, and to whom the request goes."""

    def __init__(self) -> None:
        self.asked: signal.Signals | None = None
        self.killed = False  # the grace period ran out
        self._grace_s = 0.0
        self._deliver: Callable[[signal.Signals], None] | None = None
        self._kill: Callable[[], None] | None = None

    @property
    def exit_code(self) -> int:
        """128 + the first signal's number, as a shell reports it; 0 when nobody asked."""
        return 0 if self.asked is None else 128 + self.asked

    @contextlib.contextmanager
    def passed_on(
        self, deliver: Callable[[signal.Signals], None], kill: Callable[[], None], grace_s: float
    ) -> Iterator[None]:
        """In the block requests, also one that came before it, are delivered; after `grace_s` the stage is killed.

        Outside of it a request is only kept: what runs there is short and must not be cut in two.
        """
        self._deliver, self._kill, self._grace_s = deliver, kill, grace_s
        if self.asked is not None:
            self._pass_on(self.asked, first=True)
        try:
            yield
        finally:
            self._deliver = self._kill = None
            signal.setitimer(signal.ITIMER_REAL, 0)

    def receive(self, number: int, _frame: FrameType | None) -> None:
        """Handle SIGINT, SIGTERM or SIGHUP. A hang-up is passed on as SIGTERM: stages know two ways to be asked."""
        asked = signal.SIGTERM if number == signal.SIGHUP else signal.Signals(number)
        if self.asked is None:
            self.asked = asked
            self._pass_on(asked, first=True)
        elif asked == signal.SIGINT:  # a second Ctrl-C; a second SIGTERM only says that the caller is gone, too
            self._pass_on(asked, first=False)

    def expire(self, _number: int, _frame: FrameType | None) -> None:
        """Handle SIGALRM, the end of the grace period."""
        if self._kill is not None:
            self.killed = True
            self._kill()

    def _pass_on(self, asked: signal.Signals, *, first: bool) -> None:
        if self._deliver is None:
            return
        self._deliver(asked)
        if first:  # who asks again gets no longer to wait
            signal.setitimer(signal.ITIMER_REAL, self._grace_s)


@contextlib.contextmanager
def listening() -> Iterator[Stop]:
    """Collect requests to stop in the block. When the caller (DVC) is gone, however it ended, that is one, too.

    A signal that is ignored stays so: nohup, or a shell that put the run into the background, meant it.
    """
    stop = Stop()
    heard = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    former = {number: signal.signal(number, stop.receive) for number in heard}
    former[signal.SIGALRM] = signal.signal(signal.SIGALRM, stop.expire)
    called_by = caller.find_caller()
    try:
        with caller.watching(called_by, _ask_to_stop) if called_by else contextlib.nullcontext():
            yield stop
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _ask_to_stop() -> None:
    os.kill(os.getpid(), signal.SIGTERM)
