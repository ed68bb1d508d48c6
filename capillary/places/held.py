"""One head at a time follows a job: a lock in the job's folder, which the kernel frees however the head ends."""

import contextlib
import fcntl
import os
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from stages.common.errors import CapillaryError, ExitCode

LOCK_FILE = "head.lock"


@contextlib.contextmanager
def held(folder: Path, address: str) -> Iterator[None]:
    """Hold `folder` for the block. Raises CapillaryError, naming the other head, when one holds it."""
    stream = _take(folder, address)
    try:
        yield
    finally:
        stream.close()


def is_held(folder: Path) -> bool:
    """Whether a head follows the job in `folder` now."""
    try:
        with (folder / LOCK_FILE).open("r") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def clear(folder: Path) -> None:
    """Remove what a former job left in `folder`, except the lock that this head holds."""
    for left in folder.iterdir():
        if left.name == LOCK_FILE:
            continue
        if left.is_dir() and not left.is_symlink():
            shutil.rmtree(left)
        else:
            left.unlink()


def _take(folder: Path, address: str) -> IO[str]:
    file = folder / LOCK_FILE
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        stream = file.open("a+")
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.seek(0)
            holder = stream.read().strip() or "unknown"
            stream.close()
            raise _other_head(address, holder) from None
        # the former holder may have removed the folder between the two calls above
        if file.exists() and file.stat().st_ino == os.fstat(stream.fileno()).st_ino:
            break
        stream.close()
    stream.truncate(0)
    stream.write(f"process {os.getpid()} on {platform.node()}")
    stream.flush()
    return stream


def _other_head(address: str, holder: str) -> CapillaryError:
    return CapillaryError(
        f"another command already waits for the job of {address}",
        value=holder,
        remedy="leave it to that one; capillary jobs logs -f shows what the job prints",
        code=ExitCode.MACHINE,
    )
