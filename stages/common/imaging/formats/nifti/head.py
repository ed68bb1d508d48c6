"""The first bytes of a NIfTI, read before a library follows what they claim."""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from stages.common.imaging.formats.damage import damaged
from stages.common.imaging.formats.inflate import PIECE, Inflated, Packed, ZlibDecoder

_GZIP_MAGIC = b"\x1f\x8b"
MAX_HEAD_BYTES = 1 << 24  # header and extensions
_OFFSETS = {348: (108, "f"), 540: (168, "q")}  # NIfTI-1 and 2: where, and as what, the place of the voxels is written
_PIXDIMS = {348: (76, "8f"), 540: (104, "8d")}  # the steps along the axes, from the second number on
_MAGICS = {348: slice(344, 348), 540: slice(4, 12)}
_SLACK = 1 << 20  # bytes that may follow the voxels


@dataclass(frozen=True, kw_only=True)
class Head:
    """What the first bytes of a file say. `kind` is 1 or 2 for NIfTI-1 and 2, None for what is neither.

    `unknown_steps`: which of the first three axes have a step of 0 in pixdim, that is, none: nibabel makes 1 of it.
    """

    is_packed: bool
    kind: Literal[1, 2] | None = None
    unknown_steps: tuple[bool, bool, bool] = (False, False, False)


def read_head(path: Path) -> Head:
    """Raises DataError if header and extensions of `path` claim more than any header needs.

    What is not NIfTI is left to the reader, which says so.
    """
    with path.open("rb") as file:
        packed = file.read(2) == _GZIP_MAGIC
        file.seek(0)
        stream: Packed = Inflated(file, ZlibDecoder) if packed else file
        head = stream.read(min(_OFFSETS))
        order, size = _kind_of(head)
        if not size:
            return Head(is_packed=packed)
        head += stream.read(size + 4 - len(head))
        if len(head) >= size + 4:
            _check(stream, head, order, size, path)
    steps = _unknown_steps(head, order, size)
    return Head(is_packed=packed, kind=1 if size == min(_OFFSETS) else 2, unknown_steps=steps)


def _check(stream: Packed, head: bytes, order: str, size: int, path: Path) -> None:
    at, kind = _OFFSETS[size]
    (begin,) = struct.unpack_from(order + kind, head, at)
    if not 0 <= begin <= MAX_HEAD_BYTES:  # NaN is not
        raise damaged(path, f"its header takes {begin:,g} bytes, the limit is {MAX_HEAD_BYTES:,}")
    if begin < size and head[_MAGICS[size]].startswith(b"n+"):  # in one file; nibabel reads the header as voxels
        raise damaged(path, "its voxels begin before its header ends")
    if head[size]:
        _check_extensions(stream, order, int(begin) - len(head), path)


def _kind_of(head: bytes) -> tuple[str, int]:
    """The order of bytes and the size of the header that begins with `head`; 0 for what is not NIfTI."""
    kinds = ((order, size) for order in "<>" for size in _OFFSETS if head[:4] == struct.pack(f"{order}i", size))
    return next(kinds, ("", 0))


def _unknown_steps(head: bytes, order: str, size: int) -> tuple[bool, bool, bool]:
    at, kind = _PIXDIMS[size]
    if len(head) < at + struct.calcsize(kind):
        return False, False, False
    _, first, second, third, *_ = struct.unpack_from(order + kind, head, at)
    return first == 0, second == 0, third == 0


def _check_extensions(stream: Packed, order: str, room: int, path: Path) -> None:
    if room < 0:
        raise damaged(path, "its voxels begin before its header ends")
    while room >= 16:
        start = stream.read(8)
        if len(start) < 8:
            return  # cut: the reader says so
        size, _ = struct.unpack(f"{order}ii", start)
        if not 8 <= size <= room:
            raise damaged(path, f"an extension of its header has {size:,} bytes, {room:,} are left for it")
        _skip(stream, size - 8)
        room -= size


def _skip(stream: Packed, size: int) -> None:
    while size > 0 and (data := stream.read(min(size, PIECE))):
        size -= len(data)


def check_whole(path: Path, claimed: int) -> None:
    """Inflate a compressed `path` to its end, for its checksum, but not far beyond the `claimed` bytes.

    Raises DataError if more comes, and what the decoder raises on damage.
    """
    most = claimed + _SLACK
    with path.open("rb") as stream:
        if Inflated(stream, ZlibDecoder).skip(most + 1) > most:
            raise damaged(path, f"it unpacks to more than the {claimed:,} bytes that its header claims")
