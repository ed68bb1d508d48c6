"""Resident memory of a process and all its descendants, read so cheaply that it can be watched several times a second.

Pages that processes share (mapped volumes, what a loader worker has in common with the process that it was forked from)
count once for each, as in the RSS column of ps and top: the sum is an upper bound of what the tree takes.
"""

import os
import time
from pathlib import Path

import psutil

FAMILY_AGE_S = 0.5  # who belongs to the tree is asked again after this time; a process has dozens of threads to look at


class ProcessTree:
    """The process `pid` (None: this one) and its descendants."""

    def __init__(self, pid: int | None = None) -> None:
        self._pid = os.getpid() if pid is None else pid
        self._family: list[psutil.Process] = []
        self._asked = float("-inf")

    def rss_bytes(self) -> int:
        """Resident memory of the whole tree; 0 when it is gone."""
        if time.monotonic() - self._asked > FAMILY_AGE_S:
            self._family = [process for pid in _family(self._pid) if (process := _process(pid)) is not None]
            self._asked = time.monotonic()
        return sum(map(_rss_bytes, self._family))

    def rss_gb(self) -> float:
        """The same in GB (10⁹ bytes)."""
        return self.rss_bytes() / 1e9


def _process(pid: int) -> psutil.Process | None:
    try:
        return psutil.Process(pid)
    except psutil.Error:
        return None  # it ended since it was listed


def _rss_bytes(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0


def _family(pid: int) -> list[int]:
    """Read from the kernel's lists of children: psutil looks at every process of the machine, for 34 times the time."""
    if not _children_are_listed():
        try:
            return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
        except psutil.Error:
            return []
    family = [pid]
    for each in family:  # grows while it is walked
        family += _children(each)
    return family


def _children_are_listed() -> bool:
    """Whether the kernel tells a process's children (Linux with CONFIG_PROC_CHILDREN, as distributions build it)."""
    return Path(f"/proc/self/task/{os.getpid()}/children").exists()


def _children(pid: int) -> list[int]:
    """A child belongs to the thread that started it."""
    children: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208 - the names are enough
            with open(f"/proc/{pid}/task/{thread}/children", "rb") as stream:  # noqa: PTH123 - as above
                children += map(int, stream.read().split())
    except OSError:
        return children  # it, or one of its threads, ended meanwhile
    return children
