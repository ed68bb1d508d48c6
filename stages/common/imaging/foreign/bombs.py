"""Chunks that unpack to more than their array says, found before a library unpacks them."""

import io
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from stages.common.imaging.formats.damage import damaged
from stages.common.imaging.formats.inflate import Inflated, ZlibDecoder
from stages.common.machine.memory import memory_room

_SLACK = 1 << 12
_GZIP_OR_ZLIB = 47
_MOST = 1 << 15  # times its size that a chunk of any codec unpacks to
_DEFLATE = 1032
_PART_OF_ROOM = 4  # a chunk that could take less than this part of the memory left is not looked into


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """One chunk as it is stored, and how to read it."""

    size: int
    read: Callable[[], bytes]


def refuse_bombs(chunks: Iterable[Chunk], size: int, codec: str, path: Path) -> None:
    """Raise DataError for one of `chunks` that unpacks to more than `size` bytes, and for one that is longer itself.

    `codec` is "" for filters that do not enlarge, "deflate" for gzip and zlib, "blosc", "lz4", "zstd" or any other.
    Chunks that could not take a large part of the memory, whatever they hold, are passed over.
    """
    room = memory_room().bytes // _PART_OF_ROOM
    for chunk in chunks:
        if chunk.size > size + size // 16 + _SLACK:
            raise damaged(path, f"a chunk of {size:,} bytes takes {chunk.size:,} in the file")
        expansion = _DEFLATE if codec == "deflate" else _MOST if codec else 1
        if chunk.size * expansion <= max(room, size):
            continue
        claimed = _unpacked(chunk.read(), codec, size)
        if claimed > size:
            raise damaged(path, f"a chunk unpacks to more than the {size:,} bytes that its array says")


def _unpacked(data: bytes, codec: str, size: int) -> int:
    """How many bytes `data` unpacks to, as far as that can be told without doing it; `size` where it cannot."""
    if codec == "deflate":
        return Inflated(io.BytesIO(data), lambda: ZlibDecoder(_GZIP_OR_ZLIB)).skip(size + 1)
    if codec == "blosc" and len(data) >= 16:
        return int(struct.unpack_from("<I", data, 4)[0])
    if codec == "lz4" and len(data) >= 4:
        return int(struct.unpack_from("<I", data)[0])
    if codec == "zstd":
        return _zstd_size(data, size)
    return size


def _zstd_size(data: bytes, size: int) -> int:
    """What the header of a Zstandard frame says (RFC 8878); more than `size` where it says nothing."""
    if len(data) < 6 or data[:4] != b"\x28\xb5\x2f\xfd":
        return size
    flags = data[4]
    width = {0: 1 if flags & 0x20 else 0, 1: 2, 2: 4, 3: 8}[flags >> 6]
    at = 5 + (0 if flags & 0x20 else 1) + (0, 1, 2, 4)[flags & 3]
    if not width or len(data) < at + width:
        return size + 1
    return int.from_bytes(data[at : at + width], "little") + (256 if width == 2 else 0)
