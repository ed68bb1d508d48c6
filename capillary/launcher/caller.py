"""The process that asked for a stage: DVC, found above the shell that ran the cmd."""

import contextlib
import os
import threading
from collections.abc import Callable, Iterator

import psutil

SHELLS = {"sh", "bash", "dash", "zsh", "fish", "ksh", "ash"}
POLL_S = 0.5


def find_caller() -> psutil.Process | None:
    """The nearest ancestor that is not a shell; None when there is none left."""
    for process in psutil.Process().parents():
        try:
            if process.name() not in SHELLS:
                return process
        except psutil.NoSuchProcess:
            return process  # it has just ended, and whoever watches it will see so
    return None


@contextlib.contextmanager
def watching(caller: psutil.Process, on_gone: Callable[[], None]) -> Iterator[None]:
    """Call `on_gone` once, from a background thread, when `caller` or this process's parent (a shell) ends meanwhile.

    A process is known by its start time, not by a number that another may get.
    """
    parent = os.getppid()
    over = threading.Event()

    def poll() -> None:
        while is_alive(caller) and os.getppid() == parent:
            if over.wait(POLL_S):
                return
        on_gone()

    thread = threading.Thread(target=poll, name="caller-watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def is_alive(process: psutil.Process) -> bool:
    """Whether `process` still runs; a zombie does not."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
