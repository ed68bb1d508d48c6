"""Requests to stop an experiment, passed on to its cells."""

import contextlib
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass
class ReceivedStop:
    """Whether somebody asked: 128 + the first signal's number, as a shell reports it; 0 when nobody did."""

    code: int = 0


@contextlib.contextmanager
def passing_on(stop: Callable[[], None]) -> Iterator[ReceivedStop]:
    """In the block every request to stop calls `stop`; a signal that is ignored stays so."""
    asked = ReceivedStop()

    def receive(number: int, _frame: FrameType | None) -> None:
        asked.code = asked.code or 128 + number
        stop()

    heard = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    former = {number: signal.signal(number, receive) for number in heard}
    try:
        yield asked
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
