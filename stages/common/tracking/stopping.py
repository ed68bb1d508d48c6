"""Requests to stop that come while a stage whose work is done waits for a server: they end the wait, not the stage."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator

from stages.common.lifetimes.signals import handled

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def stop_asked(stopped: Callable[[], bool] | None) -> Iterator[Callable[[], bool]]:
    """Whether somebody asked to stop: as `stopped` says, or, where it is None, by a signal within the block."""
    if stopped is not None or threading.current_thread() is not threading.main_thread():
        yield stopped or (lambda: False)
        return
    heard: list[int] = []
    with handled(dict.fromkeys(_SIGNALS, lambda received, _frame: heard.append(received))):
        yield lambda: bool(heard)
