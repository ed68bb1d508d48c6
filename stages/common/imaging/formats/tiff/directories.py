"""The directories of a TIFF, counted before a library makes objects of them: how many pages, and what their tags claim.

Each may lie anywhere in the file, and several may share their values, so that little data can claim much memory.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from stages.common.errors import DataError
from stages.common.imaging.formats.damage import damaged

MAX_PAGES = 1 << 16
MAX_TAGS = 1 << 12  # of one page
MAX_TAG_BYTES = 1 << 28  # of all pages
MAX_LEVELS = 1 << 10  # of a pyramid below one page
MAX_TEXT_BYTES = 1 << 24  # of the first page's description, such as OME-XML
MAX_ELEMENTS = 500_000  # of XML in it: begin and end of an element count
_SHARED = 64  # bytes: values that several pages may well share
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_DESCRIPTION, _XMP, _SUB_IFDS = 270, 700, 330
# BitsPerSample, Compression, PhotometricInterpretation, FillOrder, Predictor, SampleFormat
_DECIDING = (258, 259, 262, 266, 317, 339)
_DECLARATION = re.compile(rb"<!\s*(DOCTYPE|ENTITY)", re.IGNORECASE)


# of a tag: its code, its type, how many values it has, and these or the offset of them
_Tag = tuple[int, int, int, bytes]


@dataclass(frozen=True, kw_only=True)
class _Form:
    """How numbers are laid out: classic TIFF, or BigTIFF with 64-bit offsets."""

    count: struct.Struct  # of tags
    tag: struct.Struct
    offset: struct.Struct


def check_directories(stream: IO[bytes], path: Path) -> None:
    """Raise DataError if the directories of the TIFF `path`, open as `stream`, claim more than any stack needs.

    What is damaged in another way is left to the reader, which says it better.
    """
    size = path.stat().st_size
    claimed = 0
    form = _form_of(stream)
    for number, tags in enumerate(_directories(stream, form, path) if form else (), 1):
        if number > MAX_PAGES:
            raise _too_much(path, f"it holds more than {MAX_PAGES:,} pages")
        claimed += _claimed(tags, number, path)
        if claimed > min(size, MAX_TAG_BYTES):
            most = f"the limit is {MAX_TAG_BYTES:,}" if size > MAX_TAG_BYTES else f"the file has {size:,}"
            raise damaged(path, f"the tags up to page {number:,} claim {claimed:,} bytes, {most}")
        if number == 1 and form:
            _check_texts(stream, form, tags, path)


def voxel_tags(stream: IO[bytes], path: Path) -> list[tuple[_Tag, ...]]:
    """For each page of the TIFF `path`, open as `stream`, the tags that say how its numbers are to be read."""
    stream.seek(0)
    form = _form_of(stream)
    pages = _directories(stream, form, path) if form else ()
    return [tuple(tag for tag in tags if tag[0] in _DECIDING) for tags in pages]


def _form_of(stream: IO[bytes]) -> _Form | None:
    """None for what is not TIFF. The stream is then where the offset of the first directory is."""
    head = stream.read(4)
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    if order is None or len(head) < 4:
        return None
    (version,) = struct.unpack_from(f"{order}H", head, 2)
    if version == 43:
        stream.read(4)  # the size of an offset, and nothing
    forms = {42: ("H", "HHI4s", "I"), 43: ("Q", "HHQ8s", "Q")}
    if version not in forms:
        return None
    count, tag, offset = (struct.Struct(order + form) for form in forms[version])
    return _Form(count=count, tag=tag, offset=offset)


def _directories(stream: IO[bytes], form: _Form, path: Path) -> Iterator[list[_Tag]]:
    """The tags of one page after the other; ends where the chain ends, is cut or comes back to where it was."""
    seen: set[int] = set()
    try:
        (offset,) = form.offset.unpack(stream.read(form.offset.size))
        while offset and offset not in seen:
            seen.add(offset)
            stream.seek(offset)
            (count,) = form.count.unpack(stream.read(form.count.size))
            if count > MAX_TAGS:
                raise _too_much(path, f"page {len(seen):,} has {count:,} tags, the limit is {MAX_TAGS:,}")
            tags: list[_Tag] = list(form.tag.iter_unpack(stream.read(count * form.tag.size)))
            following = stream.read(form.offset.size)
            yield tags
            (offset,) = form.offset.unpack(following)
    except (struct.error, OverflowError, OSError):
        return  # cut, or an offset where no file can be


def _claimed(tags: list[_Tag], number: int, path: Path) -> int:
    """Bytes of the directory of page `number` and of what its tags speak of."""
    total = 12 * len(tags)
    for code, kind, values, _ in tags:
        size = values * _SIZES.get(kind, 1)
        if size > _SHARED:
            total += size
        if code == _SUB_IFDS and values > MAX_LEVELS:
            what = f"page {number:,} has {values:,} levels of a pyramid, the limit is {MAX_LEVELS:,}"
            raise _too_much(path, what)
    return total


def _check_texts(stream: IO[bytes], form: _Form, tags: list[_Tag], path: Path) -> None:
    """Descriptions of the first page: their length, and how much XML there is in them. Entities are for nobody."""
    for code, kind, values, field in tags:
        size = values * _SIZES.get(kind, 1)
        if code not in (_DESCRIPTION, _XMP) or size <= len(field):
            continue
        stream.seek(form.offset.unpack(field)[0])
        check_text(stream.read(min(size, MAX_TEXT_BYTES + 1)), size, path)


def check_text(text: bytes, size: int, path: Path) -> None:
    """Raise DataError for metadata that are longer than any stack's, or declare entities. `size`: of all of them."""
    if size > MAX_TEXT_BYTES:
        raise _too_much(path, f"its description has {size:,} bytes, the limit is {MAX_TEXT_BYTES:,}")
    if text.count(b"<") > MAX_ELEMENTS:
        raise _too_much(path, f"its metadata have {text.count(b'<'):,} marks of XML, the limit is {MAX_ELEMENTS:,}")
    if _DECLARATION.search(text):
        raise _too_much(path, "its metadata declare a document type or entities of XML, which are not expanded")


def _too_much(path: Path, what: str) -> DataError:
    return DataError(what, remedy="save the stack again (in Fiji: Save As, Tiff), one stack in a file", file=path)
