"""Files that are either whole or absent: written next to their place, flushed to the disk, renamed."""

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_UNKNOWN_CALLS = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS)  # what a file system says that lacks a call


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[IO[bytes]]:
    """A binary file that becomes `path` when the block ends without an error, and leaves nothing when it fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb", opener=_through_no_link) as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        name_the_file(error, path)
        raise
    _sync_folder(path.parent)


def name_the_file(error: BaseException, path: Path) -> None:
    """Let an error of a full disk say that it befell `path`: one that comes with the writing names no file."""
    if isinstance(error, OSError) and error.errno in _FULL and error.filename is None:
        error.filename = str(path)


def name_twice(file: Path, name: Path) -> None:
    """Give `file` the name `name` as well, which must be free; a copy where the disk has no second names (exFAT)."""
    try:
        name.hardlink_to(file)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EMLINK, *_UNKNOWN_CALLS):
            raise
        shutil.copyfile(file, name, follow_symlinks=False)


def _through_no_link(path: str, flags: int) -> int:
    """In a folder that others write to, a link may wait under the temporary name."""
    return os.open(path, flags | os.O_NOFOLLOW, 0o666)


def _sync_folder(folder: Path) -> None:
    """A rename is on the disk only when its folder is. Some file systems of servers and of VMs have no such call."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _UNKNOWN_CALLS:
            raise
    finally:
        os.close(descriptor)
