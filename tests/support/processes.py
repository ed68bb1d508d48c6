"""Processes of a test: found, and ended the hard way."""

from pathlib import Path

import psutil


def processes_in(folder: Path) -> list[psutil.Process]:
    """Processes that work in `folder` or below it, without this one."""
    found = []
    for process in psutil.process_iter():
        try:
            if Path(process.cwd()).is_relative_to(folder) and process != psutil.Process():
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
    return found


def kill_family(process: psutil.Popen) -> None:
    """Kill `process` and all below it at once, as when a machine loses its power."""
    family = [*process.children(recursive=True), process]
    for one in family:
        try:
            one.kill()
        except psutil.NoSuchProcess:
            continue
    process.wait()
