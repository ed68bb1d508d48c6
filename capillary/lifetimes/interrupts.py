"""Requests to stop in commands that run no stage themselves: Ctrl-C in any of them, and an experiment's."""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FrameType
from typing import NoReturn

from stages.common.lifetimes.shutdown import Action, Event, Policy, Shutdown
from stages.common.lifetimes.signals import handled, heard, install

POLICY = Policy(killing=frozenset({Event.CTRL_C}))


def heed_interrupts() -> None:
    """From now on Ctrl-C raises KeyboardInterrupt the first time, and ends this process the second time.

    The second one comes while something is cleaned up or waited for, where a KeyboardInterrupt would print a traceback.
    Commands with their own handlers set them later, and give them back. An ignored signal stays ignored.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        install({signal.SIGINT: _Interrupts().receive})


class _Interrupts:
    """How often this command was interrupted."""

    def __init__(self) -> None:
        self._shutdown = Shutdown(POLICY)

    def receive(self, _number: int, _frame: FrameType | None) -> NoReturn:
        self._shutdown, actions = self._shutdown.after(Event.CTRL_C)
        if Action.KILL in actions:
            os._exit(128 + signal.SIGINT)  # processes that were started notice: a terminal tells them, or their leash
        raise KeyboardInterrupt


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

    with handled(heard(receive)):
        yield asked
