"""Locks on files that the kernel frees when their holder ends, however that comes.

Unlike a process number, such a lock tells a living holder from a dead one in other containers too, and with NFS 4 on
other machines. The package filelock does not fit: no stage's image declares it, and holders here write who they are
into the file, pass an open lock on, and take one in a folder that another process may be removing.
"""

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO


class NoLocksError(OSError):
    """The disk of a file has no locks. Its number is ENOLCK, whatever the disk calls it."""


def take(file: Path, *, make_folder: bool = False, permissions: int = 0o666) -> IO[bytes] | None:
    """`file`, made if it is missing, open and locked until it is closed or this process ends; None if another holds it.

    Raises OSError, for a link too, and NoLocksError where the disk has no locks.
    """
    while True:
        if make_folder:
            file.parent.mkdir(parents=True, exist_ok=True)
        stream = _open(file, permissions)
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.close()
            return None
        except OSError as error:
            stream.close()
            raise NoLocksError(errno.ENOLCK, error.strerror, str(file)) from error
        if _is_named(file, stream):
            return stream
        stream.close()  # the former holder removed the file between the two calls


@contextlib.contextmanager
def locked(file: Path, *, or_go_on: bool = False) -> Iterator[None]:
    """Wait for the lock of `file` and hold it for the block. With `or_go_on`, a disk without locks is no error."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with _open(file) as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX)
        except OSError as error:
            if not or_go_on:
                raise NoLocksError(errno.ENOLCK, error.strerror, str(file)) from error
        yield


def is_held(file: Path) -> bool:
    """Whether a process holds the lock of `file`. Raises OSError for a link, and where the disk has no locks."""
    how = os.O_RDWR if os.access(file, os.W_OK, follow_symlinks=False) else os.O_RDONLY
    try:
        number = os.open(file, how | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(number)
    return False


def note_holder(stream: IO[bytes], words: str) -> None:
    """Write into a lock that this process took who holds it."""
    stream.truncate(0)
    stream.write(words.encode())
    stream.flush()


def holder_of(file: Path) -> str:
    """What the holder of the lock wrote into it; `unknown` before it did, and when it has gone meanwhile."""
    try:
        return file.read_text(encoding="utf-8", errors="replace").strip() or "unknown"
    except FileNotFoundError:
        return "unknown"


def _open(file: Path, permissions: int = 0o666) -> IO[bytes]:
    number = os.open(file, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, permissions)
    return os.fdopen(number, "ab+")


def _is_named(file: Path, stream: IO[bytes]) -> bool:
    """Whether `file` still is what `stream` has open."""
    try:
        return os.path.samestat(file.stat(), os.fstat(stream.fileno()))
    except FileNotFoundError:
        return False
