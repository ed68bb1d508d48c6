"""The process that asked for a stage: DVC, found above the shell that ran the cmd."""

import threading
import time
from collections.abc import Callable

import psutil

SHELLS = {"sh", "bash", "dash", "zsh", "fish", "ksh", "ash"}
POLL_S = 0.5


def find_caller() -> psutil.Process | None:
    """The nearest ancestor that is not a shell; None when there is none left."""
    for process in psutil.Process().parents():
        if process.name() not in SHELLS:
            return process
    return None


def watch(caller: psutil.Process, on_gone: Callable[[], None]) -> None:
    """Call `on_gone` once, from a background thread, when `caller` has ended (a process is known by its start time)."""

    def poll() -> None:
        while caller.is_running() and caller.status() != psutil.STATUS_ZOMBIE:
            time.sleep(POLL_S)
        on_gone()

    threading.Thread(target=poll, name="caller-watch", daemon=True).start()
