"""Requests to stop: signals, and the end of the process that asked for the stage."""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from types import FrameType

from capillary.lifetimes import caller
from stages.common.lifetimes.shutdown import Action, Event, Policy, Supervision, event_of
from stages.common.lifetimes.signals import handled, heard

# a second Ctrl-C is passed on; a second SIGTERM only says that the caller is gone, too
POLICY = Policy(repeated=frozenset({Event.CTRL_C}))


class Stop:
    """Whether this launcher was asked to stop, and to whom the request goes."""

    def __init__(self) -> None:
        self.asked: signal.Signals | None = None
        self.killed = False  # the grace period ran out
        self._child: Supervision | None = None

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

        def end(_number: int) -> None:
            self.killed = True
            kill()

        def start_grace(_number: int) -> None:
            signal.setitimer(signal.ITIMER_REAL, grace_s)

        actions = {Action.FORWARD: deliver, Action.START_GRACE: start_grace, Action.KILL: end}
        self._child = Supervision(POLICY, actions)
        if self.asked is not None and not self._child.shutdown.requests:  # one may come just now
            self._child.take(event_of(self.asked), self.asked)
        try:
            yield
        finally:
            self._child = None
            signal.setitimer(signal.ITIMER_REAL, 0)

    def receive(self, number: int, _frame: FrameType | None) -> None:
        """Handle SIGINT, SIGTERM or SIGHUP. A hang-up is passed on as SIGTERM: stages know two ways to be asked."""
        asked = signal.SIGTERM if number == signal.SIGHUP else signal.Signals(number)
        self.asked = self.asked or asked
        if self._child is not None:
            self._child.take(event_of(asked), asked)

    def expire(self, _number: int, _frame: FrameType | None) -> None:
        """Handle SIGALRM, the end of the grace period."""
        if self._child is not None:
            self._child.take(Event.GRACE_OVER)


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


def tell_of_kill(grace_s: float) -> str:
    """What is said of a stage whose grace period ran out."""
    return f"did not end within {grace_s:g} s (CAPILLARY_GRACE_S) after the request to stop, and was killed"


def ask_to_stop() -> None:
    """Ask this process itself to stop, from any of its threads."""
    os.kill(os.getpid(), signal.SIGTERM)
