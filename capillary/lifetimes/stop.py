"""Requests to stop: signals, and the end of the process that asked for the stage."""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FrameType

from capillary.lifetimes import caller
from stages.common.lifetimes.shutdown import Action, Event, Policy, Shutdown, event_of
from stages.common.lifetimes.signals import handled, heard

# a second Ctrl-C is passed on; a second SIGTERM only says that the caller is gone, too
POLICY = Policy(repeated=frozenset({Event.CTRL_C}))


@dataclass(frozen=True, kw_only=True)
class _Child:
    """What runs in a block of `Stop.passed_on`."""

    deliver: Callable[[signal.Signals], None]
    kill: Callable[[], None]
    grace_s: float


class Stop:
    """Whether this launcher was asked to stop, and to whom the request goes."""

    def __init__(self) -> None:
        self.asked: signal.Signals | None = None
        self.killed = False  # the grace period ran out
        self._child: _Child | None = None
        self._shutdown = Shutdown(POLICY)

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
        self._child, self._shutdown = _Child(deliver=deliver, kill=kill, grace_s=grace_s), Shutdown(POLICY)
        if self.asked is not None:
            self._take(event_of(self.asked), self.asked)
        try:
            yield
        finally:
            self._child = None
            signal.setitimer(signal.ITIMER_REAL, 0)

    def receive(self, number: int, _frame: FrameType | None) -> None:
        """Handle SIGINT, SIGTERM or SIGHUP. A hang-up is passed on as SIGTERM: stages know two ways to be asked."""
        asked = signal.SIGTERM if number == signal.SIGHUP else signal.Signals(number)
        self.asked = self.asked or asked
        self._take(event_of(asked), asked)

    def expire(self, number: int, _frame: FrameType | None) -> None:
        """Handle SIGALRM, the end of the grace period."""
        self._take(Event.GRACE_OVER, signal.Signals(number))

    def _take(self, event: Event, number: signal.Signals) -> None:
        child = self._child
        if child is None:
            return
        self._shutdown, actions = self._shutdown.after(event)
        for action in actions:
            if action is Action.FORWARD:
                child.deliver(number)
            elif action is Action.START_GRACE:
                signal.setitimer(signal.ITIMER_REAL, child.grace_s)
            elif action is Action.KILL:
                self.killed = True
                child.kill()


@contextlib.contextmanager
def listening() -> Iterator[Stop]:
    """Collect requests to stop in the block. When the caller (DVC) is gone, however it ended, that is one, too.

    A signal that is ignored stays so: nohup, or a shell that put the run into the background, meant it.
    """
    stop = Stop()
    with handled({**heard(stop.receive), signal.SIGALRM: stop.expire}):
        called_by = caller.find_caller()
        with caller.watching(called_by, ask_to_stop) if called_by else contextlib.nullcontext():
            yield stop


def ask_to_stop() -> None:
    """Ask this process itself to stop, from any of its threads."""
    os.kill(os.getpid(), signal.SIGTERM)
