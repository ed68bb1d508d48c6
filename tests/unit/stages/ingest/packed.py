"""Archives made byte by byte: good ones, and such as no packing program would write."""

import io
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stages.ingest.sources.archives.archive import ArchiveFolder
from stages.ingest.sources.source import open_source

IMAGE = "images/v1.tif"
CONTENT = bytes(range(256)) * 9
TABLE = b"id,image\n"


def member(name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = "", **fields: Any) -> bytes:
    """One member of a tar as the standard library writes it, whatever it is called; `fields` are TarInfo's."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, len(content)
    for field, value in fields.items():
        setattr(info, field, value)
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape") + blocks(content)


def blocks(content: bytes) -> bytes:
    """`content`, filled up to whole blocks."""
    return content + bytes(-len(content) % 512)


def header(name: str, kind: bytes, size: int) -> bytes:
    """A header alone, whatever it claims: sizes that do not fit into digits become base-256."""
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")


def pax(*records: tuple[str, str], kind: bytes = tarfile.XHDTYPE) -> bytes:
    """An extended header with `records`, as they are."""
    content = b""
    for key, value in records:
        text = f" {key}={value}\n".encode("utf-8", "surrogateescape")
        length = len(text) + len(str(len(text)))
        length += len(str(length)) - len(str(len(text)))
        content += str(length).encode() + text
    return header("pax", kind, len(content)) + blocks(content)


def write_tar(archive: Path, *members: bytes, ended: bool = True) -> Path:
    """A gzip'd tar of a table and of `members`."""
    content = member("dataset.csv", TABLE) + b"".join(members) + (bytes(1024) if ended else b"")
    packer = zlib.compressobj(1, wbits=31)
    archive.write_bytes(packer.compress(content) + packer.flush())
    return archive


def write_zip(archive: Path, *members: tuple[str | zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    """A zip of a table and of `members`."""
    with zipfile.ZipFile(archive, "w", method) as zipped:
        for name, content in (("dataset.csv", TABLE), *members):
            zipped.writestr(name, content)
    return archive


def unix(name: str, mode: int) -> zipfile.ZipInfo:
    """An entry with a Unix mode, such as a link's."""
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, mode << 16
    return info


def patched(change: Callable[[bytearray, int, int], None]) -> Callable[[Path], None]:
    """Change the bytes of a zip of one stored image; `change` gets its local and its central header's place."""

    def make(archive: Path) -> None:
        write_zip(archive, (IMAGE, CONTENT))
        content = bytearray(archive.read_bytes())
        change(content, content.rindex(b"PK\x03\x04"), content.rindex(b"PK\x01\x02"))
        archive.write_bytes(content)

    return make


def put(form: str, central: int, value: int) -> Callable[[Path], None]:
    """A zip whose list says `value` at `central` (an offset in the entry of the image)."""
    return patched(lambda content, _local, entry: struct.pack_into(form, content, entry + central, value))


def stored_elsewhere(packed: bytes, size: int, method: int) -> bytes:
    """A zip of one image alone, packed by `method` into `packed`, that claims `size` bytes."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as zipped:
        zipped.writestr("dataset.csv", TABLE)
        zipped.writestr(IMAGE, packed)
    content = bytearray(stream.getvalue())
    local, central = content.rindex(b"PK\x03\x04"), content.rindex(b"PK\x01\x02")
    struct.pack_into("<H", content, local + 8, method)
    struct.pack_into("<H", content, central + 10, method)
    struct.pack_into("<L", content, central + 24, size)
    return bytes(content)


def opened(archive: Path) -> ArchiveFolder:
    """`archive` as a source, with a scratch folder beside it."""
    scratch = archive.parent / "scratch"
    scratch.mkdir()
    source = open_source(str(archive), scratch)
    assert isinstance(source, ArchiveFolder)
    return source


def fetched(archive: Path, path: str = IMAGE) -> bytes:
    """The content of `path` in `archive`, through everything that ingest does with it."""
    source = opened(archive)
    source.expect([path])
    target = archive.parent / "fetched"
    source.fetch(path, target)
    return target.read_bytes()
