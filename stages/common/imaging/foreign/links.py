"""Links in what a stranger made: none is followed out of the folder that was named."""

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from stages.common.errors import DataError


def refuse_links(folder: Path, *, deep: bool = True) -> None:
    """Raise DataError for a link in `folder` (`deep`: or below it) that leads out of it."""
    top = folder.resolve()
    for entry in _entries(folder, deep=deep):
        if entry.is_symlink() and not Path(entry.path).resolve().is_relative_to(top):
            name = os.path.relpath(entry.path, folder)
            raise DataError(
                f"{name} in it is a link to a place outside the folder", remedy="put the file itself there", file=folder
            )


def _entries(folder: Path, *, deep: bool) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            yield entry
            if deep and entry.is_dir(follow_symlinks=False):
                yield from _entries(Path(entry.path), deep=True)


def detached_file(header: Path, name: str) -> Path:
    """The file called `name` in the folder of `header`, or below it. DataError for a name or a link that leads out."""
    written = PurePosixPath(name)
    if "\\" in name or "\0" in name or written.is_absolute() or ".." in written.parts or ":" in name:
        raise _outside(header, name)
    file = header.parent / written
    if not file.resolve().is_relative_to(header.parent.resolve()) and file.is_symlink():
        raise _outside(header, name)
    if not file.is_file():
        raise DataError(f"its voxels are in {name[:120]!r}, which is missing", remedy="copy it next to it", file=header)
    return file


def _outside(header: Path, name: str) -> DataError:
    return DataError(
        f"its voxels are in {name[:120]!r}, which is outside its folder",
        remedy="put both files into the same folder, and name the second one without a path",
        file=header,
    )
