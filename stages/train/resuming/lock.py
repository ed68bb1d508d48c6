"""One process trains one cell: a lock on the cell's state folder that the kernel frees however its holder ends."""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from stages.common.errors import CapillaryError, ExitCode
from stages.common.progress import say

PATIENCE_S = 30.0  # for loader workers that outlive a killed training by a few seconds
_POLL_S = 0.25


@contextlib.contextmanager
def cell_lock(state_dir: Path, patience_s: float = PATIENCE_S) -> Iterator[None]:
    """Hold `state_dir` for the block. Raises CapillaryError, naming the holder, when it is not free in time."""
    state_dir.mkdir(parents=True, exist_ok=True)
    file = state_dir / "lock"
    with file.open("a+") as stream:
        _acquire(stream.fileno(), file, patience_s)
        stream.truncate(0)
        stream.write(str(os.getpid()))
        stream.flush()
        yield


def _acquire(descriptor: int, file: Path, patience_s: float) -> None:
    deadline = time.monotonic() + patience_s
    told = False
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = file.read_text() or "unknown"
        if time.monotonic() > deadline:
            raise CapillaryError(
                "another process trains this cell",
                remedy=f"wait for process {pid} or end it, then repeat: the training resumes from its checkpoint",
                code=ExitCode.MACHINE,
                value=f"process {pid}",
            )
        if not told:
            say(f"waiting for process {pid}, which holds this cell")
            told = True
        time.sleep(_POLL_S)
