"""Tar archives, plain or in gzip, bzip2 or xz: the list of members, and the content of some of them.

The standard library's module reads single header blocks here, and no more: the rest of it follows what headers claim.
"""

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Protocol

from stages.common.imaging.formats.inflate import Inflated, decoder_of
from stages.ingest.sources.archives.limits import MAX_HEADER_BYTES, MAX_NAME_BYTES, Budget
from stages.ingest.sources.archives.members import Kind, Member
from stages.ingest.sources.links import printable

_BLOCK = 512
_MOST_PADDING = 1 << 22  # bytes behind the end mark: tapes are filled up to a whole record
_SOLARIS_PAX = b"X"
_PAX_KEYS = {b"path", b"linkpath", b"size", b"GNU.sparse.name"}
_KINDS: dict[bytes, Kind] = {
    **dict.fromkeys((tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE), "file"),
    tarfile.DIRTYPE: "folder",
    tarfile.SYMTYPE: "link",
    tarfile.LNKTYPE: "hard link",
    tarfile.GNUTYPE_SPARSE: "sparse",
    tarfile.CHRTYPE: "device",
    tarfile.BLKTYPE: "device",
    tarfile.FIFOTYPE: "pipe",
}
_WITHOUT_CONTENT = ("folder", "link", "hard link", "device", "pipe")


class _Forward(Protocol):
    def read(self, size: int, /) -> bytes: ...

    def skip(self, size: int, /) -> int: ...


class _Plain:
    """A file that is not compressed, with the interface of Inflated."""

    def __init__(self, stream: IO[bytes], size: int) -> None:
        self._stream, self._size = stream, size

    def read(self, size: int) -> bytes:
        return self._stream.read(size)

    def skip(self, size: int) -> int:
        passed = min(size, self._size - self._stream.tell())
        self._stream.seek(passed, 1)
        return passed


def _forward(stream: IO[bytes], size: int) -> _Forward:
    head = stream.read(8)
    stream.seek(0)
    decoder = decoder_of(head)
    return _Plain(stream, size) if decoder is None else Inflated(stream, decoder)


def list_tar(archive: Path, budget: Budget) -> list[Member]:
    """The members of `archive` in its order; it is read to its end, so that a cut or a wrong checksum is found."""
    with archive.open("rb") as stream:
        reader = _Reader(stream=_forward(stream, budget.archive_bytes), budget=budget)
        return list(reader.members())


def read_tar(archive: Path, members: list[Member]) -> Iterator[tuple[Member, _Forward]]:
    """Each of `members`, in the order of the archive, with a stream whose next bytes are its content."""
    with archive.open("rb") as stream:
        content, position = _forward(stream, archive.stat().st_size), 0
        for member in sorted(members, key=lambda each: each.place):
            content.skip(member.place - position)
            yield member, content
            position = member.place + member.size


@dataclass(kw_only=True)
class _Extended:
    """What headers before a member say about it instead of its own: its name, where it leads, its size."""

    name: str | None = None
    target: str | None = None
    size: int | None = None
    is_sparse: bool = False


@dataclass(kw_only=True)
class _Reader:
    stream: _Forward
    budget: Budget
    position: int = 0
    common: dict[str, str] = field(default_factory=dict)  # what a global header says about all that follow

    def members(self) -> Iterator[Member]:
        extended = self._new()
        while (header := self._header()) is not None:
            if header.type in (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK):
                text = self._content(header).split(b"\0")[0].decode("utf-8", "surrogateescape")
                if header.type == tarfile.GNUTYPE_LONGNAME:
                    extended.name = text
                else:
                    extended.target = text
            elif header.type in (tarfile.XHDTYPE, tarfile.XGLTYPE, _SOLARIS_PAX):
                told = _pax(self._content(header))
                if header.type == tarfile.XGLTYPE:
                    self.common |= told
                    extended = self._new()
                else:
                    _apply(told, extended)
            else:
                yield self._member(header, extended)
                extended = self._new()

    def _new(self) -> _Extended:
        extended = _Extended()
        _apply(self.common, extended)
        return extended

    def _header(self) -> tarfile.TarInfo | None:
        """The next header; None at the end of the archive."""
        is_first = self.position == 0
        block = self._read(_BLOCK)
        if not block.strip(b"\0"):
            if is_first:
                raise tarfile.ReadError("it holds nothing")
            self._refuse_rest()
            return None
        try:
            header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            what = "it is not a tar archive" if is_first else f"the header at {self.position - _BLOCK:,} is damaged"
            raise tarfile.ReadError(f"{what} ({error})") from error
        if header.size < 0:
            raise tarfile.ReadError(f"the size of {printable(header.name)} is negative ({header.size})")
        if header.type == tarfile.GNUTYPE_SPARSE:
            self._skip_sparse_maps(block)
        return header

    def _skip_sparse_maps(self, block: bytes) -> None:
        is_extended = block[482]
        while is_extended:
            self.budget.take_list(_BLOCK, "a sparse file")
            is_extended = self._exactly(_BLOCK)[504]

    def _member(self, header: tarfile.TarInfo, extended: _Extended) -> Member:
        name = header.name if extended.name is None else extended.name
        kind = _KINDS.get(header.type, "unknown")
        size = header.size if extended.size is None else extended.size
        size = 0 if kind in _WITHOUT_CONTENT else size
        target = header.linkname if extended.target is None else extended.target
        shown = printable(name)
        if len(target) > MAX_NAME_BYTES:
            text = f"the link {shown} leads to a path of {len(target):,} characters, the limit is {MAX_NAME_BYTES:,}"
            raise tarfile.ReadError(text)
        self.budget.take_list(len(name) + len(target), shown)
        self.budget.take_member(shown, size)
        place, room = self.position, _whole_blocks(size)
        if self._skip(room) < size:
            raise EOFError(f"it ends within {shown}, {size:,} bytes by its header")
        if kind == "file" and extended.is_sparse:
            kind = "sparse"
        return Member(name, kind, size, place, target)

    def _content(self, header: tarfile.TarInfo) -> bytes:
        """What an extended header holds."""
        name = printable(header.name)
        if header.size > MAX_HEADER_BYTES:
            text = f"an extended header ({name}) has {header.size:,} bytes, the limit is {MAX_HEADER_BYTES:,}"
            raise tarfile.ReadError(text)
        self.budget.take_list(_BLOCK + header.size, name)
        return self._exactly(_whole_blocks(header.size))[: header.size]

    def _exactly(self, size: int) -> bytes:
        data = self._read(size)
        if len(data) < size:
            raise EOFError("it ends within a header")
        return data

    def _read(self, size: int) -> bytes:
        """`size` bytes; none at the end, where an archive without an end mark is whole all the same."""
        data = self.stream.read(size)
        if data and len(data) < size:
            raise EOFError("it ends within a block" if self.position else "it is not a tar archive")
        self.position += len(data)
        return data

    def _skip(self, size: int) -> int:
        passed = self.stream.skip(size)
        self.position += passed
        return passed

    def _refuse_rest(self) -> None:
        """Read on to the end of the file: there the checksum is."""
        if self.stream.skip(_MOST_PADDING + 1) > _MOST_PADDING:
            raise tarfile.ReadError(f"more than {_MOST_PADDING:,} bytes follow its end")


def _whole_blocks(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK


def _pax(data: bytes) -> dict[str, str]:
    """The keys that matter here in an extended header, which holds records of "LENGTH KEY=VALUE\\n"."""
    found, start = {}, 0
    data = data.rstrip(b"\0")
    while start < len(data):
        length, separator, _ = data[start : start + 20].partition(b" ")
        if not separator or not length.isdigit() or not len(length) + 1 < int(length) <= len(data) - start:
            raise tarfile.ReadError("an extended header is damaged")
        key, _, value = data[start + len(length) + 1 : start + int(length) - 1].partition(b"=")
        if key in _PAX_KEYS:
            found[key.decode()] = value.decode("utf-8", "surrogateescape")
        elif key.startswith(b"GNU.sparse."):
            found["GNU.sparse"] = ""
        start += int(length)
    return found


def _apply(told: dict[str, str], extended: _Extended) -> None:
    extended.name = told.get("GNU.sparse.name", told.get("path", extended.name))
    extended.target = told.get("linkpath", extended.target)
    extended.is_sparse |= any(key.startswith("GNU.sparse") for key in told)
    if "size" in told:
        size = told["size"]
        if not (size.isascii() and size.isdigit() and len(size) < 20):
            raise tarfile.ReadError(f"the size of a member is {printable(size, 30)}")
        extended.size = int(size)
