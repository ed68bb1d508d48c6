"""A folder on this machine as a source."""

import os
import shutil
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from stages.common.errors import DataError
from stages.ingest.sources.links import LinkError, follow, printable

TABLE = "dataset.csv"


@dataclass(frozen=True, kw_only=True)
class LocalFolder:
    """The files in `folder`, and those of `cache` (DVC's) that links in it lead to.

    Other links are followed within the folder only: what is outside, a stage in a container cannot see.
    """

    folder: Path
    shown: str
    cache: Path | None = None

    @property
    def table(self) -> str | None:
        """`dataset.csv`, if the folder holds it."""
        place = self.folder / TABLE
        return TABLE if os.path.lexists(place) and not place.is_dir() else None

    def names(self, folder: str) -> list[str]:
        """Entries of a folder, sorted; a link counts as what it leads to."""
        place = self.real_place(folder)
        return sorted(entry.name for entry in place.iterdir()) if place.is_dir() else []

    def below(self, folder: str) -> list[str]:
        """Files anywhere below a folder; a link to a folder is not gone into."""
        place = self.real_place(folder)
        found = (Path(above) / name for above, _, names in os.walk(place) for name in names)
        return sorted(file.relative_to(place).as_posix() for file in found)

    def expect(self, paths: Iterable[str]) -> None:
        """Nothing to get ready."""

    def fetch(self, path: str, target: Path) -> None:
        """Copy a file."""
        original = self.real_place(path)
        _check_file(original, self.folder / path, path)
        try:
            stream = original.open("rb")
        except OSError as error:
            raise DataError(
                f"it cannot be read: {error.strerror}", remedy="make it readable (chmod a+r)", file=path
            ) from error
        with stream, target.open("xb") as copy:
            shutil.copyfileobj(stream, copy, 1 << 22)

    def real_place(self, path: str) -> Path:
        """Where `path` lies, reached over no link but one into the cache. DataError for a link that leads out."""
        try:
            return self._spelled(self.folder / follow(path, self._target_of))
        except LinkError as error:
            raise DataError(str(error), remedy="make the link relative, or copy the file there", file=path) from error

    def _spelled(self, place: Path) -> Path:
        """`place`, or the one file of that name in another form of Unicode: macOS decomposes what a table composes."""
        if os.path.lexists(place) or not place.is_relative_to(self.folder):
            return place
        found = self.folder
        for part in place.relative_to(self.folder).parts:
            if not os.path.lexists(found / part) and found.is_dir():
                wanted = unicodedata.normalize("NFC", part)
                alike = [each.name for each in found.iterdir() if unicodedata.normalize("NFC", each.name) == wanted]
                part = alike[0] if len(alike) == 1 else part
            found /= part
        return place if found.is_symlink() else found

    def _target_of(self, name: str) -> str | None:
        place = self.folder / name
        try:
            target = os.readlink(place)  # noqa: PTH115 - Path drops what a link's text begins with
        except OSError:  # not a link, or not there: _check_file tells them apart
            return None
        leads_to = Path(os.path.normpath(place.parent / target))
        return None if self.cache is not None and leads_to.is_relative_to(self.cache) else target


def _check_file(original: Path, named: Path, path: str) -> None:
    if original.is_dir():
        raise DataError("this is a folder, not a file", remedy="name the file itself", file=path)
    if original.is_file():
        return
    if os.path.lexists(original) and not original.is_symlink():
        raise DataError("it is a pipe, a socket or a device, not a file", remedy="put the file itself there", file=path)
    if original.is_symlink() or named.is_symlink():
        leads_to = printable(str((original if original.is_symlink() else named).readlink()))
        raise DataError(
            f"it is a link to {leads_to}, which does not exist", remedy="put the file itself there", file=path
        )
    raise DataError("it does not exist in the source", remedy="correct its name or add the file", file=path)
