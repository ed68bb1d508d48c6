"""TIFF and NIfTI files made number by number, to claim what no program would write."""

import gzip
import struct
from collections.abc import Mapping, Sequence
from typing import Any

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, DESCRIPTION = 256, 257, 258, 259, 262, 270
STRIP_OFFSETS, ROWS_PER_STRIP, STRIP_BYTES, TILE_WIDTH, TILE_HEIGHT = 273, 278, 279, 322, 323
TILE_OFFSETS, TILE_BYTES, SUB_IFDS = 324, 325, 330
SHORT, LONG, ASCII = 3, 4, 2
Tag = tuple[int, int, int]  # type, number of values, the value or its offset


def page(side: int, compression: int, offset: int, size: int, bits: int = 8) -> dict[int, Tag]:
    """The tags of a grey page of `side` × `side`, whose one strip of `size` bytes is at `offset`."""
    return {
        WIDTH: (LONG, 1, side),
        HEIGHT: (LONG, 1, side),
        BITS: (SHORT, 1, bits),
        COMPRESSION: (SHORT, 1, compression),
        PHOTOMETRIC: (SHORT, 1, 1),
        STRIP_OFFSETS: (LONG, 1, offset),
        ROWS_PER_STRIP: (LONG, 1, side),
        STRIP_BYTES: (LONG, 1, size),
    }


def tiff(pages: Sequence[Mapping[int, Tag]], data: bytes = b"", *, following: int = 0) -> bytes:
    """A little-endian TIFF: header, `data` from byte 8 on, `pages`; the last one names `following` as the next."""
    content = struct.pack("<2sHI", b"II", 42, 8 + len(data)) + data
    for number, tags in enumerate(pages):
        end = len(content) + 2 + 12 * len(tags) + 4
        content += struct.pack("<H", len(tags))
        content += b"".join(struct.pack("<HHII", code, *tag) for code, tag in sorted(tags.items()))
        content += struct.pack("<I", end if number + 1 < len(pages) else following)
    return content


def nifti_1(shape_xyz: Sequence[int], data: bytes = b"", **fields: Any) -> bytes:
    """A NIfTI-1 of 8-bit voxels; `fields` are begin (of the voxels), extended (its flag), bits, slope and code."""
    head = bytearray(352)
    struct.pack_into("<i", head, 0, 348)
    struct.pack_into(f"<{1 + len(shape_xyz)}h", head, 40, len(shape_xyz), *shape_xyz)
    struct.pack_into("<hh", head, 70, fields.get("code", 2), fields.get("bits", 8))
    struct.pack_into("<8f", head, 76, 1, 1, 1, 1, 1, 1, 1, 1)
    struct.pack_into("<fff", head, 108, fields.get("begin", 352.0), fields.get("slope", 1.0), 0.0)
    head[344:348] = b"n+1\0"
    head[348] = fields.get("extended", 0)
    return bytes(head) + data


def nifti_2(shape_xyz: Sequence[int], data: bytes = b"", begin: int = 544) -> bytes:
    """A NIfTI-2 of 8-bit voxels, whose voxels are said to begin at `begin`."""
    head = bytearray(544)
    struct.pack_into("<i8shh", head, 0, 540, b"n+2\0\r\n\x1a\n", 2, 8)
    struct.pack_into("<8q", head, 16, len(shape_xyz), *shape_xyz, *[1] * (7 - len(shape_xyz)))
    struct.pack_into("<8d", head, 104, *[1.0] * 8)
    struct.pack_into("<q", head, 168, begin)
    return bytes(head) + data


def packed(content: bytes) -> bytes:
    """As gzip packs it."""
    return gzip.compress(content, 6, mtime=0)
