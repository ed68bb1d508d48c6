"""A folder on this machine as a source."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from stages.common.errors import DataError

TABLE = "dataset.csv"


@dataclass(frozen=True, kw_only=True)
class LocalFolder:
    """The files in `folder`. When `owned`, they are this run's own and are linked instead of copied."""

    folder: Path
    shown: str
    owned: bool = False

    @property
    def table(self) -> str | None:
        """`dataset.csv`, if the folder holds it."""
        return TABLE if (self.folder / TABLE).is_file() else None

    def names(self, folder: str) -> list[str]:
        """Entries of a folder; a link counts as what it leads to."""
        place = self.folder / folder
        return sorted(entry.name for entry in place.iterdir()) if place.is_dir() else []

    def fetch(self, path: str, target: Path) -> None:
        """Copy a file."""
        original = self.folder / path
        _check_file(original, path)
        try:
            stream = original.open("rb")
        except OSError as error:
            raise DataError(
                f"it cannot be read: {error.strerror}", remedy="make it readable (chmod a+r)", file=path
            ) from error
        with stream:
            if self.owned:
                os.link(original, target)
                return
            with target.open("xb") as copy:
                shutil.copyfileobj(stream, copy, 1 << 22)


def _check_file(original: Path, path: str) -> None:
    if original.is_dir():
        raise DataError("this is a folder, not a file", remedy="name the file itself", file=path)
    if original.is_file():
        return
    if original.is_symlink():
        leads_to = original.readlink()
        raise DataError(
            f"it is a link to {leads_to}, which is not visible here", remedy="put the file itself there", file=path
        )
    raise DataError("it does not exist in the source", remedy="correct its name or add the file", file=path)
