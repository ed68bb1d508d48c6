"""Ctrl-C in any command: once it ends in order, twice at once."""

import os
import signal
from types import FrameType
from typing import NoReturn


def heed_interrupts() -> None:
    """From now on Ctrl-C raises KeyboardInterrupt the first time, and ends this process the second time.

    The second one comes while something is cleaned up or waited for, where a KeyboardInterrupt would print a traceback.
    Commands with their own handlers set them later, and give them back. An ignored signal stays ignored.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _first)


def _first(_number: int, _frame: FrameType | None) -> NoReturn:
    signal.signal(signal.SIGINT, _second)
    raise KeyboardInterrupt


def _second(_number: int, _frame: FrameType | None) -> NoReturn:
    os._exit(128 + signal.SIGINT)  # processes that were started notice: a terminal tells them, or their leash
