"""Processes that are ended the hard way."""

import psutil


def kill_family(process: psutil.Popen) -> None:
    """Kill `process` and all below it at once, as when a machine loses its power."""
    family = [*process.children(recursive=True), process]
    for one in family:
        try:
            one.kill()
        except psutil.NoSuchProcess:
            continue
    process.wait()
