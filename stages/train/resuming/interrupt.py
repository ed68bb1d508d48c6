"""Requests to stop: SIGTERM, SIGINT, or the memory guard. Finish the step at hand, write a checkpoint, leave."""

import contextlib
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType

from stages.common.errors import CapillaryError, ExitCode
from stages.common.lifetimes.shutdown import REQUESTS, Action, Event, Policy, Shutdown, event_of
from stages.common.lifetimes.signals import handled
from stages.common.monitoring.memory_guard import Crossing, MemoryGuard, guarding

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
# the second Ctrl-C does not wait
POLICY = Policy(repeated=REQUESTS, killing=frozenset({Event.CTRL_C}))
_GOES_ON = "rerun the same command to resume the training from there"


@dataclass(frozen=True, kw_only=True)
class Request:
    """Why a training is to stop: a signal, or else a crossed limit of memory. It crosses to ranks on other nodes."""

    received: signal.Signals | None
    crossing: Crossing | None

    def error(self, where: str) -> CapillaryError:
        """Why the training ends `where` it is, once its checkpoint is written. A signal's exit code is the shell's."""
        if self.received is None:
            assert self.crossing is not None
            return self.crossing.error(f"{where}; the checkpoint is written", f"then {_GOES_ON}")
        return CapillaryError(
            f"stopped by {self.received.name} {where}; the checkpoint is written",
            remedy=_GOES_ON,
            code=ExitCode(128 + self.received),
        )


class Interrupt:
    """Which signal asked this process to stop, if one did, and the guard of its memory."""

    def __init__(self, guard: MemoryGuard | None = None) -> None:
        self.received: signal.Signals | None = None
        self._guard = guard or MemoryGuard()
        self._shutdown = Shutdown(POLICY)

    @property
    def crossing(self) -> Crossing | None:
        """What the guard of the memory saw, None so far."""
        return self._guard.crossing

    @property
    def asked(self) -> bool:
        """Whether anybody asked to stop."""
        return self.received is not None or self._guard.crossing is not None

    @property
    def request(self) -> Request | None:
        """Why this process is to stop, None if nobody asked it."""
        return Request(received=self.received, crossing=self._guard.crossing) if self.asked else None

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        self._shutdown, actions = self._shutdown.after(event_of(number))
        if Action.KILL in actions:
            raise KeyboardInterrupt
        self.received = signal.Signals(number)


@contextlib.contextmanager
def listening(memory_abort_gb: float | None = None) -> Iterator[Interrupt]:
    """Within the block signals and a crossed limit are requests; after it signals mean what they meant before."""
    with guarding(memory_abort_gb) as guard:
        interrupt = Interrupt(guard)
        with handled(dict.fromkeys(_SIGNALS, interrupt._receive)):
            yield interrupt
