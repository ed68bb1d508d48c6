"""SIGTERM and SIGINT as a request: finish the step at hand, write a checkpoint, leave."""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Interrupt:
    """Which signal asked this process to stop, if one did."""

    def __init__(self) -> None:
        self.received: signal.Signals | None = None

    def exit_code(self) -> int:
        """128 + the signal's number, as a shell reports it: 143 for SIGTERM, 130 for SIGINT."""
        assert self.received is not None
        return 128 + self.received

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        if self.received is not None and number == signal.SIGINT:
            raise KeyboardInterrupt  # the second Ctrl-C does not wait
        self.received = signal.Signals(number)


@contextlib.contextmanager
def listening() -> Iterator[Interrupt]:
    """Within the block signals are requests; after it they mean what they meant before."""
    interrupt = Interrupt()
    before = {number: signal.signal(number, interrupt._receive) for number in _SIGNALS}
    try:
        yield interrupt
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
