"""Zip archives: the list of members, and the content of some of them.

The standard library's module reads the list. Content is inflated here: that module bounds neither bzip2 nor LZMA.
"""

import bz2
import functools
import io
import lzma
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from stages.common.imaging.formats.inflate import RAW_DEFLATE, Decoder, Inflated, ZlibDecoder
from stages.ingest.sources.archives.limits import MAX_LIST_BYTES, MAX_NAME_BYTES, Budget
from stages.ingest.sources.archives.members import Kind, Member
from stages.ingest.sources.links import printable

_LOCAL = struct.Struct("<4s5H3L2H")
_MOST_LZMA_BYTES = 1 << 27  # of its dictionary
_UNIX = (3, 19)  # the systems, Unix and macOS, whose entries have a Unix mode
_KINDS: dict[int, Kind] = {
    0: "file",
    stat.S_IFREG: "file",
    stat.S_IFDIR: "folder",
    stat.S_IFLNK: "link",
    stat.S_IFIFO: "pipe",
    stat.S_IFCHR: "device",
    stat.S_IFBLK: "device",
}


class _BoundedReads(io.BufferedReader):
    """A file that gives no more at a time than a list of members may take."""

    def read(self, size: int | None = -1, /) -> bytes:
        left = max(0, os.fstat(self.fileno()).st_size - self.tell())
        wanted = left if size is None or size < 0 else min(size, left)
        if wanted > MAX_LIST_BYTES:
            raise zipfile.BadZipFile(f"its list of members takes {wanted:,} bytes, the limit is {MAX_LIST_BYTES:,}")
        return super().read(wanted)


def list_zip(archive: Path, budget: Budget) -> list[Member]:
    """The members of `archive` in its order; `place` is their number in it."""
    with _BoundedReads(io.FileIO(archive)) as stream, zipfile.ZipFile(stream) as zipped:
        found = []
        for number, info in enumerate(zipped.infolist()):
            shown = printable(info.orig_filename)
            budget.take_list(len(info.orig_filename) + len(info.extra) + len(info.comment), shown)
            budget.take_member(shown, info.file_size)
            kind = _kind_of(info)
            target = _target(info, stream) if kind == "link" else ""
            budget.take_list(len(target), shown)
            found.append(Member(info.orig_filename, kind, info.file_size, number, target))
        packed = sum(info.compress_size for info in zipped.infolist())
        if packed > budget.archive_bytes:
            raise zipfile.BadZipFile(f"its members overlap: {packed:,} packed bytes in {budget.archive_bytes:,}")
        return found


def read_zip(archive: Path, members: list[Member]) -> Iterator[tuple[Member, "_Checked"]]:
    """Each of `members`, in the order of the archive, with a stream of its content."""
    with _BoundedReads(io.FileIO(archive)) as stream, zipfile.ZipFile(stream) as zipped:
        infos = zipped.infolist()
        for member in sorted(members, key=lambda each: infos[each.place].header_offset):
            yield member, _Checked(infos[member.place], stream)


def _kind_of(info: zipfile.ZipInfo) -> Kind:
    if info.filename.endswith("/"):
        return "folder"
    if info.flag_bits & 1:
        return "encrypted"
    mode = info.external_attr >> 16 if info.create_system in _UNIX else 0
    return _KINDS.get(stat.S_IFMT(mode), "unknown")


def _target(info: zipfile.ZipInfo, stream: IO[bytes]) -> str:
    """Where a link leads: that is its content."""
    if info.file_size > MAX_NAME_BYTES:
        shown = printable(info.orig_filename)
        text = f"the link {shown} leads to a path of {info.file_size:,} bytes, the limit is {MAX_NAME_BYTES:,}"
        raise zipfile.BadZipFile(text)
    return _Checked(info, stream).read(info.file_size).decode("utf-8", "surrogateescape")


class _Packed:
    """`left` bytes of a file from where it is, whatever else reads it meanwhile."""

    def __init__(self, stream: IO[bytes], start: int, left: int) -> None:
        self._stream, self._position, self._left = stream, start, left

    def read(self, size: int) -> bytes:
        self._stream.seek(self._position)
        data = self._stream.read(min(size, self._left))
        self._position += len(data)
        self._left -= len(data)
        return data


class _Checked:
    """The content of one member, which must be as long as its header says and have its checksum."""

    def __init__(self, info: zipfile.ZipInfo, stream: IO[bytes]) -> None:
        self._shown = printable(info.orig_filename)
        self._info, self._left, self._checksum = info, info.file_size, 0
        packed = _Packed(stream, _start_of(info, stream), info.compress_size)
        self._stored = packed if info.compress_type == zipfile.ZIP_STORED else None
        self._inflated = None if self._stored else _inflated(info, packed)

    def read(self, size: int) -> bytes:
        """At most `size` bytes; zipfile.BadZipFile where the last of them show that the header was wrong."""
        wanted = min(size, self._left)
        data = self._stored.read(wanted) if self._stored else self._inflated.read(wanted) if self._inflated else b""
        self._left -= len(data)
        self._checksum = zlib.crc32(data, self._checksum)
        if len(data) < wanted:
            raise EOFError(f"{self._shown} holds {self._left:,} bytes less than its header says")
        if not self._left:
            self._check_end()
        return data

    def _check_end(self) -> None:
        if self._checksum != self._info.CRC:
            raise zipfile.BadZipFile(f"the checksum of {self._shown} is wrong")
        if self._stored:
            has_more = self._info.compress_size != self._info.file_size
        else:  # LZMA data may end without saying so
            is_marked = self._info.compress_type != zipfile.ZIP_LZMA
            has_more = is_marked and self._inflated is not None and bool(self._inflated.read(1))
        if has_more:
            text = f"{self._shown} holds more than the {self._info.file_size:,} bytes of its header"
            raise zipfile.BadZipFile(text)


def _start_of(info: zipfile.ZipInfo, stream: IO[bytes]) -> int:
    """Where the packed bytes of a member begin. Its header there must name the same member as the list does."""
    stream.seek(info.header_offset)
    head = stream.read(_LOCAL.size)
    if len(head) < _LOCAL.size or not head.startswith(b"PK\x03\x04"):
        raise zipfile.BadZipFile(f"{printable(info.orig_filename)} is not where the list of members says")
    *_, name_bytes, extra_bytes = _LOCAL.unpack(head)
    name = stream.read(name_bytes)
    encoding = "utf-8" if info.flag_bits & 0x800 else "cp437"
    if name != info.orig_filename.encode(encoding, "replace"):
        told = printable(name.decode(encoding, "replace"))
        raise zipfile.BadZipFile(f"{printable(info.orig_filename)} is called {told} in its own header")
    start: int = info.header_offset + _LOCAL.size + name_bytes + extra_bytes
    return start


def _inflated(info: zipfile.ZipInfo, packed: _Packed) -> Inflated:
    decoders: dict[int, Callable[[], Decoder]] = {
        zipfile.ZIP_DEFLATED: functools.partial(ZlibDecoder, RAW_DEFLATE),
        zipfile.ZIP_BZIP2: bz2.BZ2Decompressor,
    }
    if info.compress_type == zipfile.ZIP_LZMA:
        return Inflated(packed, functools.partial(_raw_lzma, _lzma_filter(packed)), single=True)
    if info.compress_type not in decoders:
        shown = printable(info.orig_filename)
        raise zipfile.BadZipFile(f"{shown} is packed by method {info.compress_type}, which is not supported")
    return Inflated(packed, decoders[info.compress_type], single=True)


def _raw_lzma(properties: dict[str, int]) -> Decoder:
    return lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[properties])


def _lzma_filter(packed: _Packed) -> dict[str, int]:
    """The settings that stand before LZMA data in a zip: version, their own length, a byte of three, the dictionary."""
    head = packed.read(9)
    if len(head) < 9 or struct.unpack_from("<H", head, 2) != (5,):
        raise zipfile.BadZipFile("the settings of its LZMA data are damaged")
    coded, size = struct.unpack_from("<BL", head, 4)
    if size > _MOST_LZMA_BYTES:
        raise zipfile.BadZipFile(f"its LZMA data need {size:,} bytes of memory, the limit is {_MOST_LZMA_BYTES:,}")
    return {
        "id": lzma.FILTER_LZMA1,
        "dict_size": size,
        "lc": coded % 9,
        "lp": coded // 9 % 5,
        "pb": coded // 45,
    }
