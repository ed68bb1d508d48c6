"""Archives as sources: what is in them, under which names, and what of it is written."""

import bz2
import errno
import lzma
import os
import stat
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from stages.common.errors import CapillaryError, DataError, ExitCode
from stages.common.imaging.formats.inflate import Inflated, ZlibDecoder
from stages.ingest.sources.archives import archive as archives
from stages.ingest.sources.archives.tar import read_tar
from stages.ingest.sources.source import Source, open_source
from tests.unit.stages.ingest.packed import (
    CONTENT,
    IMAGE,
    blocks,
    fetched,
    header,
    member,
    opened,
    pax,
    unix,
    write_tar,
    write_zip,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a table and one file below."""
    source = tmp_path / "source"
    (source / "images").mkdir(parents=True)
    (source / "dataset.csv").write_text("id\n")
    (source / "images" / "a b.tif").write_bytes(CONTENT)
    return source


def _zip(folder: Path, archive: Path, top: str = "", method: int = zipfile.ZIP_DEFLATED) -> None:
    with zipfile.ZipFile(archive, "w", method) as zipped:
        for file in folder.rglob("*"):
            zipped.write(file, f"{top}{file.relative_to(folder)}")


def _tar(folder: Path, archive: Path, top: str = ".", packing: str = "gz") -> None:
    with tarfile.open(archive, f"w:{packing}") as tarred:  # type: ignore[call-overload]
        tarred.add(folder, top)


def _mac_zip(folder: Path, archive: Path) -> None:
    _zip(folder, archive, "stacks/")
    with zipfile.ZipFile(archive, "a") as zipped:
        for name in ("__MACOSX/stacks/._dataset.csv", "stacks/images/._a b.tif", "stacks/Icon\r"):
            zipped.writestr(name, b"junk")


PACKERS: dict[str, Callable[[Path, Path], None]] = {
    "a.zip": _zip,
    "A.ZIP": _zip,
    "stored.zip": lambda folder, archive: _zip(folder, archive, method=zipfile.ZIP_STORED),
    "bzip2.zip": lambda folder, archive: _zip(folder, archive, method=zipfile.ZIP_BZIP2),
    "lzma.zip": lambda folder, archive: _zip(folder, archive, method=zipfile.ZIP_LZMA),
    "a.tar.gz": _tar,
    "a.tgz": _tar,
    "plain.tar.gz": lambda folder, archive: _tar(folder, archive, packing=""),
    "bzip2.tar.gz": lambda folder, archive: _tar(folder, archive, packing="bz2"),
    "xz.tar.gz": lambda folder, archive: _tar(folder, archive, packing="xz"),
    "in-a-folder.zip": lambda folder, archive: _zip(folder, archive, "stacks/"),
    "in-a-folder.tar.gz": lambda folder, archive: _tar(folder, archive, "stacks"),
    "from-a-mac.zip": _mac_zip,
}


def _open(address: Path, tmp_path: Path) -> Source:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    return open_source(str(address), scratch)


@pytest.mark.parametrize("name", ["", *PACKERS])
def test_folder_and_archive_of_it_offer_the_same(tmp_path: Path, folder: Path, name: str) -> None:
    """However a folder is packed, the same names and the same bytes come out."""
    address = folder
    if name:
        address = tmp_path / name
        PACKERS[name](folder, address)
    source = _open(address, tmp_path)
    assert source.shown == str(address)
    assert source.table == "dataset.csv"
    assert source.names("images") == ["a b.tif"]
    assert source.names("labels") == []
    source.expect(["images/a b.tif", "images/missing.tif"])
    for _ in range(2):  # two rows may name one file
        copy = tmp_path / "copy.tif"
        source.fetch("images/a b.tif", copy)
        assert copy.read_bytes() == CONTENT
        # unpacked files are linked; a user's original must not be, or a change to the copy would change it
        assert copy.stat().st_nlink == (2 if name else 1)
        copy.unlink()


@pytest.mark.parametrize(
    ("names", "listed"),
    [
        (("stacks/dataset.csv", ".DS_Store"), ["dataset.csv"]),
        (("stacks/dataset.csv", "notes.txt"), ["notes.txt", "stacks"]),
        (("stacks/a.tif", "dataset.csv"), ["dataset.csv", "stacks"]),
        (("dataset.csv",), ["dataset.csv"]),
        (("stacks/raw/mv01.nii.gz",), ["raw"]),
        (("raw/mv01.nii.gz",), ["raw"]),
        (("./stacks//dataset.csv", "./stacks/./a.tif"), ["a.tif", "dataset.csv"]),
    ],
)
def test_only_a_lone_folder_is_entered(tmp_path: Path, names: tuple[str, ...], listed: list[str]) -> None:
    """With other files next to it, or as one of the layout's own folders, the archive's top is the source."""
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as zipped:
        for name in names:
            zipped.writestr(name, b"x")
    assert _open(tmp_path / "a.zip", tmp_path).names("") == listed


def test_only_what_is_wanted_is_written_under_names_of_our_own(tmp_path: Path) -> None:
    """Numbered files, no folders, no links: whatever else an archive holds stays in it."""
    write_tar(
        tmp_path / "a.tar.gz",
        member("images", kind=tarfile.DIRTYPE),
        member(IMAGE, CONTENT),
        member("images/other.tif", CONTENT),
        member("images/link.tif", kind=tarfile.SYMTYPE, link="/etc/hostname"),
        member("pipe", kind=tarfile.FIFOTYPE),
        pax(("path", f"images/{'n' * 300}.tif")) + member("longer than file systems take", CONTENT),
    )
    source = opened(tmp_path / "a.tar.gz")
    source.expect([IMAGE])
    written = tmp_path / "scratch" / "unpacked"
    assert [(each.name, each.read_bytes()) for each in written.iterdir()] == [("000000", CONTENT)]
    assert stat.S_ISREG((written / "000000").lstat().st_mode)


def test_one_pass_takes_all_that_is_wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the order of the archive, whatever that of the table is: a tar is not read once a file."""
    names = [f"images/v{number}.tif" for number in range(5)]
    write_tar(tmp_path / "a.tar.gz", *(member(name, name.encode()) for name in names))
    source = opened(tmp_path / "a.tar.gz")
    passes = []
    monkeypatch.setattr(archives, "read_tar", lambda *given: passes.append(1) or read_tar(*given))
    source.expect(names[::-1])
    for name in names:
        source.fetch(name, tmp_path / "copy")
        assert (tmp_path / "copy").read_text() == name
        (tmp_path / "copy").unlink()
    assert len(passes) == 1


def test_long_names_of_every_kind_of_tar(tmp_path: Path) -> None:
    """GNU's and POSIX's extended headers, and a header for all members that follow."""
    long = f"images/{'n' * 150}.tif"
    gnu = header("././@LongLink", tarfile.GNUTYPE_LONGNAME, len(long) + 1) + blocks(long.encode() + b"\0")
    many = pax(("comment", "x" * 2000), ("mtime", "1.5"), kind=tarfile.XGLTYPE)
    for number, before in enumerate(
        (gnu, pax(("path", long)), many + pax(("path", long), ("size", str(len(CONTENT)))))
    ):
        place = tmp_path / str(number)
        place.mkdir()
        assert fetched(write_tar(place / "a.tar.gz", before + member("short", CONTENT)), long) == CONTENT


def test_a_name_is_found_in_either_form_of_unicode(tmp_path: Path) -> None:
    """macOS packs names decomposed; a table holds them as they are typed."""
    name = "images/Gefäß.tif"
    write_zip(tmp_path / "a.zip", (unicodedata.normalize("NFD", name), CONTENT))
    assert fetched(tmp_path / "a.zip", unicodedata.normalize("NFC", name)) == CONTENT


GOOD_LINKS: dict[str, tuple[bytes, ...]] = {
    "to a file beside it": (member("images/real.tif", CONTENT), member(IMAGE, kind=tarfile.SYMTYPE, link="real.tif")),
    "to a file that follows": (member(IMAGE, kind=tarfile.SYMTYPE, link="z.tif"), member("images/z.tif", CONTENT)),
    "up and down": (member("store/a", CONTENT), member(IMAGE, kind=tarfile.SYMTYPE, link="../store/./a")),
    "of a folder": (member("store/v1.tif", CONTENT), member("images", kind=tarfile.SYMTYPE, link="store")),
    "up from a linked folder": (
        member("deep/store/x", CONTENT),
        member("deep/v1.tif", CONTENT),
        member("short", kind=tarfile.SYMTYPE, link="deep/store"),
        member(IMAGE, kind=tarfile.SYMTYPE, link="../short/../v1.tif"),
    ),
    "in a chain": (
        member("a", CONTENT),
        member("b", kind=tarfile.SYMTYPE, link="a"),
        member("c", kind=tarfile.SYMTYPE, link="b"),
        member(IMAGE, kind=tarfile.SYMTYPE, link="../c"),
    ),
    "hard": (member("./real.tif", CONTENT), member(IMAGE, kind=tarfile.LNKTYPE, link="./real.tif")),
}


@pytest.mark.parametrize("members", GOOD_LINKS.values(), ids=GOOD_LINKS)
def test_a_link_within_the_archive_is_the_file_that_it_leads_to(tmp_path: Path, members: tuple[bytes, ...]) -> None:
    """People tar folders with links in them. None is made: the file itself comes out."""
    assert fetched(write_tar(tmp_path / "a.tar.gz", *members)) == CONTENT
    assert not any(each.is_symlink() for each in tmp_path.rglob("*"))


def test_a_link_in_a_zip_is_the_file_that_it_leads_to(tmp_path: Path) -> None:
    """As Info-ZIP stores it with -y."""
    link = (unix(IMAGE, stat.S_IFLNK | 0o777), b"../store/a.tif")
    assert fetched(write_zip(tmp_path / "a.zip", ("store/a.tif", CONTENT), link)) == CONTENT


def _cut(archive: Path) -> None:
    content = archive.read_bytes()
    archive.write_bytes(content[: len(content) // 2])


def _cut_little(archive: Path) -> None:
    archive.write_bytes(archive.read_bytes()[:-3])


def _text(archive: Path) -> None:
    archive.write_text("<html>please log in</html>" * 40)


def _empty(archive: Path) -> None:
    archive.write_bytes(b"")


@pytest.mark.parametrize("damage", [_cut, _cut_little, _text, _empty])
@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz", "bzip2.tar.gz", "xz.tar.gz"])
def test_damaged_archive_is_refused_by_name(
    tmp_path: Path, folder: Path, name: str, damage: Callable[[Path], None]
) -> None:
    """Half a download, all but its checksum, or a page that was saved instead of the file."""
    PACKERS[name](folder, tmp_path / name)
    damage(tmp_path / name)
    with pytest.raises(DataError, match="cannot be unpacked") as refused:
        _open(tmp_path / name, tmp_path)
    assert str(refused.value.file).endswith(name)


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz"])
def test_a_full_disk_is_not_blamed_on_the_archive(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """An OSError with an errno is passed on unchanged."""

    def fill(*_args: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    PACKERS[name](folder, tmp_path / name)
    source = _open(tmp_path / name, tmp_path)
    monkeypatch.setattr(os, "open", fill)
    with pytest.raises(OSError, match="No space"):
        source.fetch("images/a b.tif", tmp_path / "copy")


def test_the_disk_is_looked_at_before_anything_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine's fault: archive, what is needed and what is there."""
    source = opened(write_tar(tmp_path / "a.tar.gz", member(IMAGE, CONTENT)))
    monkeypatch.setattr("stages.ingest.sources.archives.limits.shutil.disk_usage", lambda _place: _Free())
    with pytest.raises(
        CapillaryError, match=r"no room for the files to fetch from the archive .*a\.tar\.gz"
    ) as refused:
        source.expect([IMAGE])
    assert (refused.value.code, refused.value.value) == (ExitCode.MACHINE, "2,304 bytes by its headers, 1,000 are free")
    assert not list((tmp_path / "scratch" / "unpacked").iterdir())


class _Free:
    free = 1000


def test_a_stream_of_several_compressed_files_is_one(tmp_path: Path) -> None:
    """As `cat a.gz b.gz` and parallel packers make it, with zeros behind; read in pieces of any size."""
    packed = tmp_path / "packed"
    for pack, decoder in ((_gzip, ZlibDecoder), (bz2.compress, bz2.BZ2Decompressor), (lzma.compress, _xz)):
        packed.write_bytes(pack(CONTENT) + pack(CONTENT[:100]) + bytes(700))
        for size in (1, 100, 4096):
            with packed.open("rb") as stream:
                inflated = Inflated(stream, decoder)
                assert inflated.skip(50) == 50
                assert b"".join(iter(lambda inflated=inflated, size=size: inflated.read(size), b"")) == (
                    CONTENT[50:] + CONTENT[:100]
                )


def _gzip(content: bytes) -> bytes:
    packer = zlib.compressobj(wbits=31)
    return packer.compress(content) + packer.flush()


def _xz() -> lzma.LZMADecompressor:
    return lzma.LZMADecompressor()
