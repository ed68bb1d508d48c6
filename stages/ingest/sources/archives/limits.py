"""How much an archive may ask for: generous for stacks, too little to harm a machine."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from stages.common.errors import DataError, MachineError

MAX_MEMBERS = 100_000
MAX_NAME_BYTES = 4096  # of a member with its folders, and of what a link leads to
MAX_HEADER_BYTES = 1 << 20  # of one extended header of a tar
MAX_LIST_BYTES = 1 << 25  # of all names and extended headers together; of a zip's list of members
MAX_EXPANSION = 1032  # what deflate packs best: 258 equal bytes into two bits
MAX_TOTAL_BYTES = 1 << 40
SMALL_BYTES = 1 << 24  # archives that unpack to no more may be packed as tightly as they like
_ARCHIVE = "the archive"
_RESERVE_BYTES = 1 << 26  # of the disk, for what ingest writes besides


class LargeArchiveError(DataError):
    """An archive that unpacks to more than was allowed for."""


@dataclass(kw_only=True)
class Budget:
    """What the headers of `shown`, an archive of `archive_bytes`, have claimed so far. Too much is a DataError.

    `most_bytes` is what all members together may take; LargeArchiveError beyond that.
    """

    shown: str
    archive_bytes: int
    most_bytes: int | None = None
    members: int = 0
    list_bytes: int = 0
    unpacked_bytes: int = 0

    def take_member(self, name: str, size: int) -> None:
        """One more member, called `name` for messages, of `size` bytes by its header."""
        self.members += 1
        self.unpacked_bytes += size
        if self.members > MAX_MEMBERS:
            raise self._refused(f"it holds more than {MAX_MEMBERS:,} members", name, "pack only the stacks")
        if self.most_bytes is not None and self.unpacked_bytes > self.most_bytes:
            what = f"the archive {self.shown} unpacks to more than {self.most_bytes:,} bytes"
            raise LargeArchiveError(what, remedy="pack only the stack", file=self.shown)
        most = max(SMALL_BYTES, self.archive_bytes * MAX_EXPANSION)
        if self.unpacked_bytes > most:
            raise self._refused(
                f"up to its member {name} its headers claim {self.unpacked_bytes:,} bytes, the limit for an archive "
                f"of {self.archive_bytes:,} is {most:,} ({MAX_EXPANSION} times its size, at least {SMALL_BYTES:,})",
                f"{name}: {size:,} bytes",
                "pack the stacks again, or unpack it yourself and name the folder",
            )

    def take_list(self, size: int, name: str) -> None:
        """`size` more bytes of names or headers, at the member `name`."""
        self.list_bytes += size
        if self.list_bytes > MAX_LIST_BYTES:
            what = f"its list of members takes more than {MAX_LIST_BYTES:,} bytes"
            raise self._refused(what, name, "pack only the stacks, under shorter names")

    def _refused(self, what: str, value: str, remedy: str) -> DataError:
        return refused(self.shown, what, remedy, value)


def refused(shown: str, what: str, remedy: str, value: object | None = None) -> DataError:
    """The error that the archive `shown` is not taken as it is."""
    return DataError(f"the archive {shown} cannot be unpacked: {what}", remedy=remedy, file=shown, value=value)


def refuse_full_disk(needed: int, folder: Path, shown: str, kind: str = _ARCHIVE) -> None:
    """Raise when `needed` bytes are more than anybody needs, or than `folder` has room for."""
    if needed > MAX_TOTAL_BYTES:
        what = f"the files that are wanted take {needed:,} bytes, the limit is {MAX_TOTAL_BYTES:,}"
        remedy = "split the set, or unpack it yourself and name the folder"
        raise DataError(f"{kind} {shown} is too large: {what}", remedy=remedy, file=shown)
    free = shutil.disk_usage(folder).free
    if needed + _RESERVE_BYTES > free:
        told = "by its headers" if kind == _ARCHIVE else "by its list of files"
        raise MachineError(
            f"the disk has no room for the files to fetch from {kind} {shown}",
            remedy="free space on the disk of the project, or move the project to a larger one",
            file=shown,
            value=f"{needed:,} bytes {told}, {free:,} are free",
        )
