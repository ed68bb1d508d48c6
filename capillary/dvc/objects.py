"""Content of DVC's cache by its hash. Anybody may have put it there, so each file is checked while it is copied."""

import hashlib
import re
from collections.abc import Iterator, Set
from pathlib import Path, PurePosixPath
from typing import Any

from stages.common.errors import DamagedError, DataError
from stages.common.text import json_value, visible

_DIGEST = re.compile(r"[0-9a-f]{32}")
_FOLDER = ".dir"
_CHUNK_BYTES = 1 << 22
_MOST_LISTED_BYTES = 1 << 28


def restore(cache: Path, digest: str, place: Path) -> None:
    """Copy the file or folder with `digest` from `cache` (DVC's files/md5) to `place`, which must not exist.

    Raises DataError when the cache lacks a part of it, DamagedError when a part is not what its name says.
    """
    if not digest.endswith(_FOLDER):
        _copy(cache, digest, place)
        return
    place.mkdir(parents=True)
    for name, each in listed(cache, digest):
        _copy(cache, each, place / name)


def listed(cache: Path, digest: str) -> Iterator[tuple[PurePosixPath, str]]:
    """(path, hash) of the files in the folder with `digest`, checked."""
    file = _object(cache, digest)
    content = file.read_bytes() if file.stat().st_size <= _MOST_LISTED_BYTES else b""
    if hashlib.md5(content, usedforsecurity=False).hexdigest() + _FOLDER != digest:
        raise _damaged(file, "its name")
    try:
        entries = [_entry(each) for each in json_value(content)]
        _refuse_clash({path for path, _ in entries}, len(entries))
    except (ValueError, TypeError, LookupError) as error:
        raise _foreign(file, error) from error
    yield from entries


def _entry(each: Any) -> tuple[PurePosixPath, str]:
    """(path, hash) of one file in a folder's list. Raises ValueError, TypeError or LookupError for anything else."""
    path, digest = PurePosixPath(each["relpath"]), each["md5"]
    if path.is_absolute() or ".." in path.parts or not path.parts or b"\0" in str(path).encode():
        raise ValueError(f"{path} is not the name of a file in a folder")
    if not isinstance(digest, str):
        raise TypeError(f"the hash of {path} is not text")
    return path, digest


def _refuse_clash(paths: Set[PurePosixPath], count: int) -> None:
    """Raise ValueError when a file is listed twice, or is a folder of another one."""
    clash = next((str(parent) for path in paths for parent in path.parents if parent in paths), "")
    if clash or len(paths) < count:
        raise ValueError(f"{clash or 'a file'} is listed twice")


def refuse_missing(cache: Path, digest: str) -> None:
    """Raise DataError when `cache` lacks a part of the file or folder with `digest`."""
    for each in (each for _, each in listed(cache, digest)) if digest.endswith(_FOLDER) else [digest]:
        _object(cache, each)


def is_digest(text: str) -> bool:
    """Whether it is the MD5 of a file or folder: a path that is made of anything else may lead out of the cache."""
    return _DIGEST.fullmatch(text.removesuffix(_FOLDER)) is not None


def _object(cache: Path, digest: str) -> Path:
    if not is_digest(digest):
        raise DataError(
            "a record names content by something other than an MD5",
            value=digest,
            remedy="remove that record from dvc.lock",
        )
    file = cache / digest[:2] / digest[2:]
    if file.is_symlink() or not file.is_file():
        raise DataError(
            "DVC's cache lacks a file that a result was computed from",
            value=digest,
            remedy="fetch it: dvc fetch --run-cache",
        )
    return file


def _copy(cache: Path, digest: str, place: Path) -> None:
    source, found = _object(cache, digest), hashlib.md5(usedforsecurity=False)
    place.parent.mkdir(parents=True, exist_ok=True)
    with source.open("rb") as stream, place.open("xb") as copy:
        while chunk := stream.read(_CHUNK_BYTES):
            found.update(chunk)
            copy.write(chunk)
    if found.hexdigest() != digest:
        raise _damaged(source, "its name")


def _foreign(file: Path, error: Exception) -> DamagedError:
    return DamagedError(
        "a folder in DVC's cache has a list of files that DVC does not write",
        file=file,
        value=visible(str(error))[:300],
        remedy="find out who wrote the record that names it (dvc.lock, or the shared cache), and remove that record",
    )


def _damaged(file: Path, what: str) -> DamagedError:
    return DamagedError(
        f"DVC's cache is damaged: a file is not what {what} says",
        file=file,
        remedy=f"`rm -f {file}`, then fetch it again: dvc fetch --run-cache",
    )
