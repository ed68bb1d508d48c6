"""One process trains one cell: a lock on the cell's state folder that the kernel frees however its holder ends."""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from stages.common.errors import MachineError
from stages.common.lifetimes.locks import holder_of, note_holder, take
from stages.common.program.messages import get_logger

log = get_logger(__name__)

PATIENCE_S = 30.0  # for loader workers that outlive a killed training by a few seconds
_POLL_S = 0.25


@contextlib.contextmanager
def cell_lock(state_dir: Path, patience_s: float = PATIENCE_S) -> Iterator[None]:
    """Hold `state_dir` for the block. Raises CapillaryError, naming the holder, when it is not free in time."""
    with _acquire(state_dir / "lock", patience_s) as stream:
        note_holder(stream, str(os.getpid()))
        yield


def _acquire(file: Path, patience_s: float) -> IO[bytes]:
    deadline = time.monotonic() + patience_s
    told = False
    while (stream := take(file, make_folder=True)) is None:
        pid = holder_of(file)
        if time.monotonic() > deadline:
            raise MachineError(
                "another process trains this cell",
                remedy=f"wait for process {pid} or end it, then repeat: the training resumes from its checkpoint",
                value=f"process {pid}",
            )
        if not told:
            log.info(f"waiting for process {pid}, which holds this cell")
            told = True
        time.sleep(_POLL_S)
    return stream
