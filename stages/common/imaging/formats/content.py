"""What a file is by its first bytes, where that is not what its name says: no damage, but another format."""

import contextlib
import zlib
from dataclasses import dataclass
from pathlib import Path

from stages.common.imaging.suffixes import (
    HDF5_SUFFIXES,
    META_SUFFIXES,
    NIFTI_SUFFIXES,
    NRRD_SUFFIXES,
    TIFF_SUFFIXES,
    suffix_of,
)

_HEAD_BYTES = 1 << 10
_GZIP_OR_ZLIB = 47
_RENAME = "rename it if it is a stack, or save the stack in the format of its name"
_GZIP, _NIFTI = "a gzip file", "a NIfTI"
_FORMATS = (
    *((magic, "a TIFF") for magic in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")),
    *((magic, _NIFTI) for magic in (b"\x5c\1\0\0", b"\0\0\1\x5c", b"\x1c\2\0\0", b"\0\0\2\x1c")),
    *((magic, "a MetaImage") for magic in (b"ObjectType", b"NDims")),
    *((b"\x89HDF", "an HDF5 file"), (b"NRRD", "an NRRD"), (b"\x1f\x8b", _GZIP), (b"PK\3\4", "a zip")),
    *((b"\x89PNG", "a PNG"), (b"\xff\xd8\xff", "a JPEG"), (b"GIF8", "a GIF"), (b"%PDF", "a PDF")),
    (b"ZISRAWFILE", "a CZI"),
)
_POINTERS = {
    b"version https://git-lfs": ("a pointer of Git LFS, not the file itself", "get the file: git lfs pull"),
    b"/annex/objects/": ("a pointer of git-annex, not the file itself", "get the file: git annex get, or datalad get"),
    b"<!doctype html": ("a web page", "download the file again: the server answered with a page"),
    b"<html": ("a web page", "download the file again: the server answered with a page"),
}
_BY_NAME = {
    **dict.fromkeys(TIFF_SUFFIXES, "a TIFF"),
    **dict.fromkeys(NIFTI_SUFFIXES, _NIFTI),
    **dict.fromkeys(HDF5_SUFFIXES, "an HDF5 file"),
    **dict.fromkeys(NRRD_SUFFIXES, "an NRRD"),
    **dict.fromkeys(META_SUFFIXES, "a MetaImage"),
}


@dataclass(frozen=True, kw_only=True)
class OtherContent:
    """What a file is in words, and what to do."""

    what: str
    remedy: str


def other_content(path: Path) -> OtherContent | None:
    """What `path` is, if its first bytes tell and its name says another format; None if it is unknown or as named."""
    wanted = _BY_NAME.get(suffix_of(path.name) or "")
    if wanted is None:
        return None
    head = _head(path)
    found = next((told for magic, told in _POINTERS.items() if head.lower().startswith(magic)), None)
    if found is not None:
        return OtherContent(what=f"it is {found[0]} ({found[1]})", remedy=found[1])
    kind = _kind_of(head)
    if kind == _GZIP:
        inner = _kind_of(_unpacked(head))
        kind = wanted if wanted == _NIFTI and inner in ("", _NIFTI) else f"{_GZIP} with {inner or 'something'} in it"
    return (
        OtherContent(what=f"it is {kind}, not {wanted} as its name says", remedy=_RENAME)
        if kind not in ("", wanted)
        else None
    )


def _head(path: Path) -> bytes:
    with contextlib.suppress(OSError, ValueError), path.open("rb") as stream:
        return stream.read(_HEAD_BYTES)
    return b""


def _unpacked(head: bytes) -> bytes:
    with contextlib.suppress(zlib.error):
        return zlib.decompressobj(_GZIP_OR_ZLIB).decompress(head, _HEAD_BYTES)
    return b""


def _kind_of(head: bytes) -> str:
    """In words, "" for what is not known."""
    if head[128:132] == b"DICM":
        return "a DICOM file"
    return next((kind for magic, kind in _FORMATS if head.startswith(magic)), "")
