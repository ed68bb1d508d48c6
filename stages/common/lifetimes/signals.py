"""Handlers of signals, and signals to a process group. Nothing else in the product sets a handler."""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import FrameType
from typing import Any

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
Handler = Callable[[int, FrameType | None], Any] | int | None


def install(handlers: Mapping[signal.Signals, Handler]) -> dict[signal.Signals, Handler]:
    """Set `handlers` from now on; returns the former ones."""
    return {number: signal.signal(number, handler) for number, handler in handlers.items()}


@contextlib.contextmanager
def handled(handlers: Mapping[signal.Signals, Handler]) -> Iterator[None]:
    """Set `handlers` for the block. Afterwards a signal means again what it meant before, also after an error."""
    former = install(handlers)
    try:
        yield
    finally:
        install(former)


@contextlib.contextmanager
def kept(numbers: Sequence[signal.Signals]) -> Iterator[None]:
    """Put back what a library in the block changes about the signals `numbers`."""
    former = {number: signal.getsignal(number) for number in numbers}
    try:
        yield
    finally:
        install({number: handler for number, handler in former.items() if signal.getsignal(number) is not handler})


def heard(receive: Handler) -> dict[signal.Signals, Handler]:
    """`receive` for each request to stop but ignored ones: nohup, or a shell that started this in the background."""
    return {number: receive for number in STOPS if not is_ignored(number)}


def is_ignored(number: signal.Signals) -> bool:
    """Whether signal `number` does nothing in this process."""
    return signal.getsignal(number) is signal.SIG_IGN


def ignore_ctrl_c(*_worker: int) -> None:
    """For a worker: Ctrl-C reaches the whole process group, and the supervising process alone decides about it."""
    install({signal.SIGINT: signal.SIG_IGN})


def signal_group(group: int, number: int) -> None:
    """Send signal `number` to all processes of `group` that are left."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)
