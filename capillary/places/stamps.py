"""What a dep looked like when its job was written, in a form that a node can check without DVC and at little cost."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from stages.common.params import Params

# reading this much takes a node a second or two; of a larger dep only names and sizes are compared
AFFORDABLE_BYTES = 64 << 20
_LITTER = ("__pycache__",)


class Stamp(Params):
    """`kind` says what `digest` covers: the content of all files, or their names and sizes alone."""

    kind: Literal["content", "sizes"]
    digest: str


def stamp_of(place: Path) -> Stamp:
    """The stamp of the file or folder `place`."""
    sizes = {name: file.stat().st_size for name, file in _files_of(place)}
    if sum(sizes.values()) > AFFORDABLE_BYTES:
        return Stamp(kind="sizes", digest=_digest(f"{name}\0{size}" for name, size in sizes.items()))
    return Stamp(kind="content", digest=_digest(f"{name}\0{_sha256(file)}" for name, file in _files_of(place)))


def _files_of(place: Path) -> Iterator[tuple[str, Path]]:
    """(relative name, path) of each file in order; hidden ones and compiled code, which come and go, are left out."""
    if not place.is_dir():
        yield "", place
        return
    for parent, folders, files in os.walk(place, followlinks=True):
        folders[:] = sorted(name for name in folders if not _comes_and_goes(name))
        for name in sorted(files):
            file = Path(parent, name)
            if not _comes_and_goes(name) and file.is_file():
                yield str(file.relative_to(place)), file


def _comes_and_goes(name: str) -> bool:
    return name.startswith(".") or name in _LITTER or name.endswith((".pyc", "~"))


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _digest(lines: Iterator[str]) -> str:
    digest = hashlib.sha256()
    for line in lines:
        digest.update(line.encode(errors="surrogateescape") + b"\n")
    return digest.hexdigest()
