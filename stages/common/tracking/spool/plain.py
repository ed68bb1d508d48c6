"""Files that another process of this project may have made: opened through no link, and not larger than they can be."""

import os
import shutil
import stat
from pathlib import Path, PurePath
from typing import IO

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # a pipe is not waited for


def open_plain(file: Path) -> IO[bytes]:
    """`file` for reading; raises ValueError where its last part is a link or not a plain file, and OSError."""
    return open_beneath(file.parent, file.name)


def open_beneath(folder: Path, name: str) -> IO[bytes]:
    """The file at the relative path `name` of `folder`, for reading.

    Raises ValueError where any part of `name` is a link, or the last one not a plain file; and OSError.
    """
    *folders, last = PurePath(name).parts
    place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in folders:
            _refuse_link(part, place, folder / name)
            place, former = os.open(part, _FOLDER, dir_fd=place), place
            os.close(former)
        _refuse_link(last, place, folder / name)
        number = os.open(last, _FILE, dir_fd=place)
    finally:
        os.close(place)
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise _not_plain(folder / name)
    return os.fdopen(number, "rb")


def read_plain(file: Path, most_bytes: int) -> bytes:
    """The content of a plain file, through no link. Raises ValueError for one that is larger, and OSError."""
    with open_plain(file) as stream:
        content = stream.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise ValueError(f"{file} has more than {most_bytes:,} bytes")
    return content


def copy_plain(folder: Path, name: str, target: Path, most_bytes: int) -> None:
    """Copy the file at the relative path `name` of `folder`, as open_beneath opens it.

    Raises ValueError for one that has more than `most_bytes`, without reading it.
    """
    with open_beneath(folder, name) as source, target.open("wb") as stream:
        if (size := os.fstat(source.fileno()).st_size) > most_bytes:
            raise ValueError(f"it has {size:,} bytes, and {most_bytes:,} is the most that is sent")
        shutil.copyfileobj(source, stream)


def _refuse_link(part: str, place: int, file: Path) -> None:
    """O_NOFOLLOW refuses it as well; this one says so in words."""
    if stat.S_ISLNK(os.lstat(part, dir_fd=place).st_mode):
        raise _not_plain(file)


def _not_plain(file: Path) -> ValueError:
    return ValueError(f"{file} is not a plain file, or is reached through a link")
