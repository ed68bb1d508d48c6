"""An archive as a source: its members are listed, and the files that are wanted are written under names of our own."""

import contextlib
import errno
import lzma
import os
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from stages.common.atomic import name_twice
from stages.common.errors import DataError
from stages.common.imaging.formats.inflate import PIECE
from stages.ingest.sources.archives.limits import Budget, refuse_full_disk, refused
from stages.ingest.sources.archives.members import Listing, Member
from stages.ingest.sources.archives.tar import list_tar, read_tar
from stages.ingest.sources.archives.zip import list_zip, read_zip
from stages.ingest.sources.local import TABLE

# no bare .tar: one that was cut between two members cannot be told from a whole one
ARCHIVE_SUFFIXES = (".zip", ".tar.gz", ".tgz")
_DAMAGE_ERRNOS = (None, errno.EINVAL, errno.EOVERFLOW)
_REMEDY = "pack the folder again without a password, or copy the whole archive again"
# What the readers raise on damage besides their own errors. RuntimeError, with NotImplementedError: a zip that is made
# otherwise than they know. OSError: damaged bzip2, or an offset where no file can be; else it is the machine's fault.
_DAMAGE = (
    ArithmeticError,
    EOFError,
    OSError,
    RuntimeError,
    ValueError,
    lzma.LZMAError,
    struct.error,
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
)


def is_archive(name: str) -> bool:
    """Whether a file called `name` is an archive that `open_archive` takes."""
    return name.lower().endswith(ARCHIVE_SUFFIXES)


class _Content(Protocol):
    def read(self, size: int, /) -> bytes: ...


@dataclass(frozen=True, kw_only=True)
class ArchiveFolder:
    """The files in `archive`, below the one folder that everything in it is in, if there is one.

    `written` is the folder that takes what is unpacked. Nothing of the archive names a file or makes a folder or a
    link there: its files are numbered.
    """

    archive: Path
    listing: Listing
    written: Path
    shown: str
    _files: dict[int, Path] = field(default_factory=dict)  # by the place of the member

    @property
    def table(self) -> str | None:
        """`dataset.csv`, if the archive holds it."""
        return TABLE if self.listing.has(TABLE) else None

    def names(self, folder: str) -> list[str]:
        """Entries of a folder; a link counts as what it leads to."""
        return self.listing.names(folder)

    def below(self, folder: str) -> list[str]:
        """Files anywhere below a folder."""
        return self.listing.below(folder)

    def expect(self, paths: Iterable[str]) -> None:
        """Unpack `paths` in one pass. What cannot be found is passed over: `fetch` says so."""
        wanted = {}
        for path in paths:
            with contextlib.suppress(DataError):
                member = self.listing.find(path)
                wanted[member.place] = member
        self._unpack(wanted.values())

    def fetch(self, path: str, target: Path) -> None:
        """Give the unpacked file another name; it is this run's own."""
        member = self.listing.find(path)
        self._unpack([member])
        name_twice(self._files[member.place], target)

    def _unpack(self, members: Iterable[Member]) -> None:
        missing = [member for member in members if member.place not in self._files]
        if not missing:
            return
        refuse_full_disk(sum(member.size for member in missing), self.written, self.shown)
        with _explaining(self.shown):
            for member, content in _read(self.archive, missing):
                file = self.written / f"{len(self._files):06d}"
                _write(file, content, member.size)
                self._files[member.place] = file


def open_archive(archive: Path, scratch: Path, *, shown: str, most_bytes: int | None = None) -> ArchiveFolder:
    """List `archive`, which must stay where it is; what is wanted of it will be unpacked under `scratch`.

    Raises DataError for one that is damaged, asks for too much, or has a member whose name leads elsewhere;
    LargeArchiveError where its members take more than `most_bytes` together.
    """
    written = scratch / "unpacked"
    written.mkdir()
    budget = Budget(shown=shown, archive_bytes=archive.stat().st_size, most_bytes=most_bytes)
    with _explaining(shown):
        members = list_zip(archive, budget) if _is_zip(archive) else list_tar(archive, budget)
    return ArchiveFolder(archive=archive, listing=Listing(members, shown), written=written, shown=shown)


def _is_zip(archive: Path) -> bool:
    return archive.name.lower().endswith(".zip")


def _read(archive: Path, members: list[Member]) -> Iterator[tuple[Member, _Content]]:
    return read_zip(archive, members) if _is_zip(archive) else read_tar(archive, members)


def _write(file: Path, content: _Content, size: int) -> None:
    """Write `size` bytes of `content`, never more, to a file that must not be there, not even as a link.

    `file` is a path, not a name in an open folder: the guard judges writes by it (capillary/executors/process/guard/).
    """
    number = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666)
    with open(number, "wb") as stream:  # noqa: PTH123 - an open file's number
        while size > 0:
            piece = content.read(min(size, PIECE))
            if not piece:
                raise EOFError(f"{size:,} bytes of a member are missing")
            stream.write(piece)
            size -= len(piece)


@contextlib.contextmanager
def _explaining(shown: str) -> Iterator[None]:
    try:
        yield
    except _DAMAGE as error:
        if isinstance(error, OSError) and error.errno not in _DAMAGE_ERRNOS:
            raise
        raise refused(shown, " ".join(str(error).split())[:300], _REMEDY) from error
