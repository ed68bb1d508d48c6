"""The processes that asked for a stage: DVC, found above the shell that ran the cmd, and what the user typed."""

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path, PurePath

import psutil

SHELLS = {"sh", "bash", "dash", "zsh", "fish", "ksh", "ash"}
# the outermost of these in a process's family is what the user typed
COMMANDS = {"dvc", "capillary", "just"}
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


def find_run() -> psutil.Process:
    """The command that the user typed: every stage of a `dvc repro` or an experiment has the same one above it."""
    own = psutil.Process()
    return next((process for process in reversed([own, *own.parents()]) if _is_command(process)), own)


def first_in_run(repository: Path, subject: str) -> bool:
    """Whether this is the first process of the run that asks about `subject`; True if that cannot be kept.

    Kept as an empty file in `.capillary/said`, which is removed in a later run.
    """
    run = find_run()
    folder = repository / ".capillary" / "said"
    mark = folder / f"{subject}-{_identity(run)}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _forget(folder, subject, spare=mark)
        mark.touch(exist_ok=False)
    except FileExistsError:
        return False
    except OSError:
        return True  # a read-only file system: told once too often rather than never
    return True


def _forget(folder: Path, subject: str, spare: Path) -> None:
    """Remove what runs that have ended left about `subject`."""
    for mark in folder.glob(f"{subject}-*"):
        identity = mark.name.removeprefix(f"{subject}-")
        if mark != spare and identity != _identity_of_number(identity.partition("-")[0]):
            mark.unlink(missing_ok=True)


def _identity(process: psutil.Process) -> str:
    """A number that no other process has, with the time of its start."""
    return f"{process.pid}-{process.create_time():.2f}"


def _identity_of_number(number: str) -> str:
    """The identity of the process that has this number now; empty when none has."""
    try:
        return _identity(psutil.Process(int(number)))
    except (psutil.Error, ValueError):
        return ""


def _is_command(process: psutil.Process) -> bool:
    try:
        program, *words = process.cmdline() or [""]
    except psutil.Error:
        return False  # it has just ended, or is none of ours
    if PurePath(program).name.startswith("python"):
        program = next((word for word in words if not word.startswith("-")), "")
    return PurePath(program).stem in COMMANDS


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
