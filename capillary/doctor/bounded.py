"""Questions that may hang: asked in a thread that nobody waits for longer than a few seconds."""

import threading
from collections.abc import Callable
from typing import TypeVar

Answer = TypeVar("Answer")
LIMIT_S = 5.0


class SilenceError(Exception):
    """No answer within the limit."""


def bounded(ask: Callable[[], Answer], limit_s: float = LIMIT_S) -> Answer:
    """The answer to `ask`, or what it raises; SilenceError after `limit_s`.

    The thread is a daemon: one that hangs for ever does not keep the program from ending.
    """
    answers: list[Answer] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            answers.append(ask())
        except BaseException as error:  # noqa: BLE001 - raised again below, in the thread that asked
            errors.append(error)

    thread = threading.Thread(target=run, name="doctor", daemon=True)
    thread.start()
    thread.join(limit_s)
    if thread.is_alive():
        raise SilenceError
    if errors:
        raise errors[0]
    return answers[0]
