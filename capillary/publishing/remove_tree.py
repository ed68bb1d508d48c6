"""Folders in which a stage wrote are removed however deep they are, and whatever their modes say."""

import contextlib
import os
import shutil
import stat
import uuid
from collections.abc import Iterator
from pathlib import Path

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove_tree(folder: Path, *, may_stay: bool = False) -> None:
    """Remove `folder`. Raises OSError for what cannot be removed, such as what a dying process still makes in it, or
    leaves it there (`may_stay`).
    """
    with contextlib.suppress(RecursionError):  # up to Python 3.12 it calls itself for each folder in a folder
        shutil.rmtree(folder, ignore_errors=True)
    if folder.is_dir():  # too deep, or the stage made folders in it that may not be changed
        with contextlib.suppress(OSError):
            _flatten(folder)
        shutil.rmtree(folder, ignore_errors=may_stay)


def _flatten(folder: Path) -> None:
    """Move each folder below `folder` directly into it, and empty it there: no path gets long, few files are open.

    Links below lead to deps, or to wherever the stage chose: none is followed.
    """
    with _open(str(folder)) as top:
        left = [name for name in os.listdir(top) if _is_folder(name, top)]  # noqa: PTH208 - of an open folder
        while left:
            with contextlib.suppress(OSError):
                _empty(left.pop(), top, left)


def _empty(name: str, top: int, left: list[str]) -> None:
    """Move the folders in the folder `name` of `top` to `top`, `left` for later; remove the rest, and `name`."""
    os.chmod(name, 0o700, dir_fd=top)
    with _open(name, top) as source:
        for inner in os.listdir(source):  # noqa: PTH208 - of an open folder
            if _is_folder(inner, source):
                new = uuid.uuid4().hex
                os.chmod(inner, 0o700, dir_fd=source)  # else it cannot get another parent
                os.rename(inner, new, src_dir_fd=source, dst_dir_fd=top)
                left.append(new)
            else:
                os.unlink(inner, dir_fd=source)
    os.rmdir(name, dir_fd=top)


def _is_folder(name: str, folder: int) -> bool:
    return stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)


@contextlib.contextmanager
def _open(name: str, folder: int | None = None) -> Iterator[int]:
    number = os.open(name, _FOLDER, dir_fd=folder)
    try:
        yield number
    finally:
        os.close(number)
