"""One head at a time follows a job: a lock in the job's folder, which the kernel frees however the head ends."""

import contextlib
import os
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from stages.common.errors import CapillaryError, MachineError
from stages.common.lifetimes import locks

LOCK_FILE = "head.lock"


@contextlib.contextmanager
def held(folder: Path, address: str) -> Iterator[None]:
    """Hold `folder` for the block. Raises CapillaryError, naming the other head, when one holds it."""
    stream = _take(folder, address)
    try:
        yield
    finally:
        stream.close()
        with contextlib.suppress(OSError):
            folder.rmdir()  # what `remove` could not: NFS keeps a removed file in its folder while somebody has it open


def is_held(folder: Path) -> bool:
    """Whether a head is following the job in `folder`."""
    return locks.is_held(folder / LOCK_FILE)


def clear(folder: Path) -> None:
    """Remove what a previous job left in `folder`, except the lock that this head holds."""
    for left in folder.iterdir():
        if left.name == LOCK_FILE:
            continue
        if left.is_dir() and not left.is_symlink():
            shutil.rmtree(left)
        else:
            left.unlink()


def remove(folder: Path) -> None:
    """Remove `folder`, whose lock this head holds; where the lock's file keeps it (NFS), the end of `held` does."""
    clear(folder)
    (folder / LOCK_FILE).unlink()
    with contextlib.suppress(OSError):
        folder.rmdir()


def _take(folder: Path, address: str) -> IO[bytes]:
    file = folder / LOCK_FILE
    stream = locks.take(file, make_folder=True)
    if stream is None:
        raise _other_head(address, locks.holder_of(file))
    locks.note_holder(stream, f"process {os.getpid()} on {platform.node()}")
    return stream


def _other_head(address: str, holder: str) -> CapillaryError:
    return MachineError(
        f"another command already waits for the job of {address}",
        value=holder,
        remedy=f"let that command finish; capillary jobs logs -f {address} shows what the job prints",
    )
