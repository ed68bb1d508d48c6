"""Questions that may hang: asked in a thread that nobody waits for longer than a limit, or once a stop is asked for."""

import concurrent.futures
import threading
import time
from collections.abc import Callable
from typing import TypeVar

Answer = TypeVar("Answer")
LIMIT_S = 5.0
_POLL_S = 0.1


class SilenceError(Exception):
    """No answer within the limit."""


def bounded(
    ask: Callable[[], Answer], limit_s: float = LIMIT_S, is_stopped: Callable[[], bool] = lambda: False
) -> Answer:
    """The answer to `ask`, or what it raises; SilenceError after `limit_s`, InterruptedError as soon as `is_stopped`.

    The thread is a daemon: one that hangs for ever does not keep the program from ending.
    """
    answer: concurrent.futures.Future[Answer] = concurrent.futures.Future()

    def run() -> None:
        try:
            answer.set_result(ask())
        except BaseException as error:  # noqa: BLE001 - raised again below, in the thread that asked
            answer.set_exception(error)

    threading.Thread(target=run, name="bounded", daemon=True).start()
    deadline = time.monotonic() + limit_s
    while not answer.done():
        concurrent.futures.wait([answer], min(_POLL_S, limit_s))
        if is_stopped():
            raise InterruptedError("asked to stop")
        if not answer.done() and time.monotonic() > deadline:
            raise SilenceError(f"no answer in {limit_s:g} s")
    return answer.result()
