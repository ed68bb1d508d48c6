"""Archives that were made to do harm: each is refused by name, and nothing of it lands outside or in memory."""

import bz2
import os
import stat
import struct
import tarfile
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stages.common.errors import DataError
from stages.ingest.sources.archives import limits
from tests.unit.stages.ingest.packed import (
    CONTENT,
    IMAGE,
    blocks,
    fetched,
    header,
    member,
    patched,
    pax,
    put,
    stored_elsewhere,
    unix,
    write_tar,
    write_zip,
)

Make = Callable[[Path], object]
GOOD, OTHER = member(IMAGE, CONTENT), member("images/v2.tif", CONTENT)
MOST_BYTES = 16 << 20  # of memory, where a file asks for gigabytes


@pytest.fixture(autouse=True)
def nothing_lands_outside(tmp_path: Path) -> Iterator[None]:
    """Only numbered files in the scratch folder, never a link, a folder or a device; little memory."""
    (tmp_path / "box").mkdir()
    (tmp_path / "neighbour").write_text("intact")
    tracemalloc.start()
    yield
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < MOST_BYTES
    assert sorted(each.name for each in tmp_path.iterdir()) == ["box", "neighbour"]
    assert (tmp_path / "neighbour").read_text() == "intact"
    unpacked = tmp_path / "box" / "scratch" / "unpacked"
    assert {each.name for each in (tmp_path / "box").rglob("*")} <= {
        *("scratch", "unpacked", "a.zip", "a.tar.gz"),
        *(f"{number:06d}" for number in range(3)),
    }
    for each in unpacked.iterdir():
        assert stat.S_ISREG(each.lstat().st_mode)


def refusal(make: Make, tmp_path: Path, name: str) -> DataError:
    """The error on the archive that `make` makes, opened and asked for its image."""
    archive = tmp_path / "box" / name
    make(archive)
    with pytest.raises(DataError) as refused:
        fetched(archive)
    assert refused.value.remedy
    assert name in str(refused.value.file)
    return refused.value


def tar(*members: bytes) -> Make:
    return lambda archive: write_tar(archive, *members)


def link(name: str, target: str) -> bytes:
    return member(name, kind=tarfile.SYMTYPE, link=target)


def chain_of_links(archive: Path) -> None:
    """Nested folders under short links, so that the true path of the last is longer than the system resolves.

    A link from there climbs out by more steps than a check that gives up on the long path sees.
    """
    depth, long = 20, "folder" * 40
    members, short = [], ""
    for level in range(depth):
        members += [member(f"{short}{long}", kind=tarfile.DIRTYPE), link(f"{short}{level}", long)]
        short += f"{level}/"
    up = f"{short}{'up' * 120}"
    members.append(link(up, "/".join([".."] * depth)))
    members.append(link("out", f"{up}/../.."))
    members += [member("out/owned", b"owned"), link(IMAGE, "../out/owned")]
    write_tar(archive, *members)


BAD_TARS: dict[str, tuple[Make, str]] = {
    "climbs": (tar(GOOD, member("../../evil", b"x")), r"the name \.\./\.\./evil leads out"),
    "climbs in the middle": (tar(GOOD, member("images/../../evil", b"x")), "leads out"),
    "climbs within": (tar(GOOD, member("images/../evil", b"x")), "leads out"),
    "absolute": (tar(GOOD, member("/tmp/evil", b"x")), "the name /tmp/evil is absolute"),
    "drive": (tar(GOOD, member("C:/evil", b"x")), "the name C:/evil is absolute"),
    "backslash": (tar(GOOD, member("images\\..\\evil", b"x")), "holds a backslash"),
    "no name": (tar(GOOD, member("", b"x")), r"a member \(file\) has no name"),
    "a dot for a name": (tar(GOOD, member("./.", b"x")), r"a member \(file\) has no name"),
    "NUL in a name": (
        tar(GOOD, pax(("path", "evil\0.tif")) + member("a")),
        r"evil\\x00\.tif holds a control character",
    ),
    "escape in a name": (tar(GOOD, member("evil\x1b[2J", b"x")), r"evil\\x1b\[2J holds a control character"),
    "line end in a name": (tar(GOOD, pax(("path", "a\nerror: b")) + member("a")), r"a\\nerror: b holds a control"),
    "endless name": (
        tar(GOOD, pax(("path", "n" * 5000)) + member("a")),
        "a name has 5,000 characters .* limit is 4,096",
    ),
    "a link's endless target": (
        tar(GOOD, pax(("linkpath", "n" * 5000)) + link("a", "")),
        "the link a leads to a path of 5,000 characters, the limit is 4,096",
    ),
    "negative size": (tar(GOOD, header("evil", tarfile.REGTYPE, -512)), r"size of evil is negative \(-512\)"),
    "negative size of a header": (tar(GOOD, header("evil", tarfile.GNUTYPE_LONGNAME, -1024)), "is negative"),
    "size that is no number": (tar(GOOD, pax(("size", "-1")) + member("a", b"x")), "size of a member is -1"),
    "size of many digits": (tar(GOOD, pax(("size", "9" * 99)) + member("a", b"x")), "size of a member is 999"),
    "header of gigabytes": (
        tar(GOOD, header("pax", tarfile.XHDTYPE, 8 << 30)),
        r"header \(pax\) has 8,589,934,592 bytes, the limit is 1,048,576",
    ),
    "name of gigabytes": (tar(GOOD, header("long", tarfile.GNUTYPE_LONGNAME, 2 << 30)), "2,147,483,648 bytes"),
    "terabytes in a member": (
        tar(GOOD, header("evil", tarfile.REGTYPE, 1 << 40)),
        r"up to its member evil its headers claim 1,099,511,[\d,]+ bytes, the limit for an archive of [\d,]+ is",
    ),
    "damaged records": (tar(GOOD, header("pax", tarfile.XHDTYPE, 9) + blocks(b"99 a=b\n\n\n")), "header is damaged"),
    "records without a length": (tar(GOOD, header("pax", tarfile.XHDTYPE, 9) + blocks(b"x a=bbbb\n")), "is damaged"),
    "damage between members": (tar(GOOD, b"x" * 512, GOOD), r"the header at 4,096 is damaged"),
    "ends within a member": (
        lambda archive: write_tar(archive, header("evil", tarfile.REGTYPE, 4096) + bytes(512), ended=False),
        "it ends within evil, 4,096 bytes by its header",
    ),
    "endless padding": (
        lambda archive: write_tar(archive, GOOD, bytes((1 << 22) + 2048)),
        "more than 4,194,304 bytes follow its end",
    ),
}


@pytest.mark.parametrize(("make", "says"), BAD_TARS.values(), ids=BAD_TARS)
def test_a_tar_that_lies_is_refused_whole(tmp_path: Path, make: Make, says: str) -> None:
    """Its list of members is refused before anything of it is unpacked."""
    error = refusal(make, tmp_path, "a.tar.gz")
    with pytest.raises(DataError, match=f"a.tar.gz cannot be unpacked: .*{says}"):
        raise error


@pytest.mark.parametrize(
    ("limit", "value", "says"),
    [("MAX_MEMBERS", 20, "more than 20 members"), ("MAX_LIST_BYTES", 3000, "list of members takes more than 3,000")],
)
@pytest.mark.parametrize("name", ["a.tar.gz", "a.zip"])
def test_a_list_without_an_end_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, limit: str, value: int, says: str
) -> None:
    """By the number of members and by the length of their names, with the member at which it was too much."""
    monkeypatch.setattr(limits, limit, value)
    names = [f"images/{number:0200d}" for number in range(25)]
    if name == "a.zip":
        error = refusal(lambda archive: write_zip(archive, *((each, b"") for each in names)), tmp_path, name)
    else:
        error = refusal(tar(*(member(each) for each in names)), tmp_path, name)
    assert says in error.what
    assert str(error.value).startswith(("images/000", "././@PaxHeader"))


BAD_WANTED: dict[str, tuple[Make, str]] = {
    "absolute link": (tar(link(IMAGE, "/etc/passwd")), "it is a link to /etc/passwd, an absolute path"),
    "link that climbs out": (
        tar(link(IMAGE, "../../../etc/passwd")),
        r"\.\./etc/passwd, which leads out",
    ),
    "link that climbs out and back": (
        tar(OTHER, link(IMAGE, "../../a/images/v2.tif")),
        "leads out",
    ),
    "folder that leads out": (tar(link("images", "..")), r"images is a link to \.\., which leads out"),
    "chain longer than a path may be": (chain_of_links, "leads out|does not exist|leads in circles"),
    "link to itself": (tar(link(IMAGE, "v1.tif")), "leads in circles"),
    "two links in a circle": (tar(link(IMAGE, "a"), link("images/a", "v1.tif")), "leads in circles"),
    "link that grows": (tar(link("images", "images/" * 30)), "leads in circles"),
    "41 links": (
        tar(
            OTHER,
            link(IMAGE, "l00"),
            *(link(f"images/l{n:02}", f"l{n + 1:02}") for n in range(41)),
        ),
        "leads in circles",
    ),
    "link to nothing": (tar(link(IMAGE, "none")), r"does not exist in the archive \(it is a link to images/none\)"),
    "link to a folder": (tar(member("store/a", b"x"), link(IMAGE, "../store")), "this is a folder"),
    "link without a target": (tar(link(IMAGE, "")), "this is a folder|does not exist"),
    "hard link out": (tar(member(IMAGE, kind=tarfile.LNKTYPE, link="../../etc/passwd")), "hard link to .*/etc/passwd"),
    "absolute hard link": (tar(member(IMAGE, kind=tarfile.LNKTYPE, link="/etc/passwd")), "hard link to /etc/passwd"),
    "hard link to a link": (
        tar(link("a", "/etc/passwd"), member(IMAGE, kind=tarfile.LNKTYPE, link="a")),
        "hard link to a, which is not one file",
    ),
    "hard link to itself": (tar(member(IMAGE, kind=tarfile.LNKTYPE, link=IMAGE)), "is not one file"),
    "device": (tar(member(IMAGE, kind=tarfile.CHRTYPE, devmajor=1, devminor=5)), "it is a device"),
    "pipe": (tar(member(IMAGE, kind=tarfile.FIFOTYPE)), "it is a pipe"),
    "sparse": (
        tar(pax(("GNU.sparse.size", "1"), ("GNU.sparse.name", IMAGE)) + member("a")),
        "it is a sparse file",
    ),
    "type that nobody knows": (tar(member(IMAGE, kind=b"q")), "it is of an unknown kind"),
    "twice": (tar(GOOD, member(IMAGE, b"other")), "the archive holds it twice"),
    "file and link": (tar(GOOD, link(IMAGE, "/etc/passwd")), "the archive holds it twice"),
    "another case": (tar(GOOD, member(IMAGE.upper(), b"x")), "IMAGES/V1.TIF, too, which differs only in case"),
    "is a folder": (tar(member(f"{IMAGE}/a", b"x")), "this is a folder"),
    "is not there": (tar(), "it does not exist in the archive"),
}


@pytest.mark.parametrize(("make", "says"), BAD_WANTED.values(), ids=BAD_WANTED)
def test_a_wanted_member_that_is_no_plain_file_is_refused(tmp_path: Path, make: Make, says: str) -> None:
    """The rest of the archive may be good: the volume that names it gets the reason."""
    error = refusal(make, tmp_path, "a.tar.gz")
    with pytest.raises(DataError, match=says):
        raise error


def test_one_name_in_two_forms_of_unicode_is_refused(tmp_path: Path) -> None:
    """Composed and decomposed: a table can mean either."""
    make = tar(member("images/ä.tif", b"x"), member("images/a\u0308.tif", b"y"))
    (tmp_path / "box" / "a.tar.gz").parent.mkdir(exist_ok=True)
    make(tmp_path / "box" / "a.tar.gz")
    with pytest.raises(DataError, match=r"under two spellings of one name .*a\\u0308"):
        fetched(tmp_path / "box" / "a.tar.gz", "images/ä.tif")


def _overlapping(archive: Path) -> None:
    """Fifty entries of the list share the packed bytes of one."""
    write_zip(archive, (IMAGE, os.urandom(3000)))
    content = archive.read_bytes()
    start, end = content.rindex(b"PK\x01\x02"), content.rindex(b"PK\x05\x06")
    entries = content[start:end] * 50
    tail = bytearray(content[end:])
    size = struct.unpack_from("<L", tail, 12)[0] + len(entries) - (end - start)
    struct.pack_into("<HHL", tail, 8, 51, 51, size)
    archive.write_bytes(content[:start] + entries + tail)


def _another_name(content: bytearray, local: int, _central: int) -> None:
    content[local + 30 : local + 33] = b"evi"


def _inflates_to_more(archive: Path) -> None:
    """Its list gives the size and the checksum of the first 100 bytes of what it holds."""
    packer = zlib.compressobj(wbits=-15)
    packed = packer.compress(bytes(1 << 20)) + packer.flush()
    content = bytearray(stored_elsewhere(packed, 100, zipfile.ZIP_DEFLATED))
    struct.pack_into("<L", content, content.rindex(b"PK\x01\x02") + 16, zlib.crc32(bytes(100)))
    archive.write_bytes(content)


def zipped(*members: tuple[str | zipfile.ZipInfo, bytes]) -> Make:
    return lambda archive: write_zip(archive, *members)


LZMA_OF_4_GB = b"\x09\x04\x05\x00" + bytes([93]) + b"\xff\xff\xff\xff" + bytes(40)
BAD_ZIPS: dict[str, tuple[Make, str]] = {
    "climbs": (zipped(("../../evil", b"x")), r"\.\./\.\./evil leads out"),
    "absolute": (zipped(("/tmp/evil", b"x")), "is absolute"),
    "drive": (zipped(("c:evil", b"x")), "is absolute"),
    "backslash": (zipped(("images\\v1.tif", b"x")), "holds a backslash"),
    "escape in a name": (zipped(("evil\x1b]0;x", b"x")), "holds a control character"),
    "NUL in a name": (patched(lambda content, _l, entry: content.__setitem__(entry + 50, 0)), "control character"),
    "overlapping members": (_overlapping, r"its members overlap: [\d,]+ packed bytes in"),
    "terabytes in a member": (
        put("<L", 24, 0xFFFFFFF0),
        r"v1\.tif its headers claim 4,294,[\d,]+ bytes",
    ),
    "more than it says": (_inflates_to_more, "holds more than the 100 bytes of its header"),
    "less than it says": (put("<L", 24, 5000), "holds 2,696 bytes less than its header says"),
    "wrong checksum": (put("<L", 16, 7), r"the checksum of images/v1\.tif is wrong"),
    "another name in its own header": (patched(_another_name), r"is called evi.* in its own header"),
    "nowhere": (put("<L", 42, 0x7FFFFFFF), "is not where the list of members says"),
    "somewhere else": (put("<L", 42, 7), "is not where the list of members says"),
    "unknown method": (put("<H", 10, 97), "packed by method 97, which is not supported"),
    "gigabytes from bzip2": (
        lambda archive: archive.write_bytes(stored_elsewhere(bz2.compress(bytes(1 << 20)), 1000, zipfile.ZIP_BZIP2)),
        "the checksum of",
    ),
    "gigabytes of dictionary": (
        lambda archive: archive.write_bytes(stored_elsewhere(LZMA_OF_4_GB, 1000, zipfile.ZIP_LZMA)),
        "need 4,294,967,295 bytes of memory, the limit is",
    ),
    "damaged settings of LZMA": (
        lambda archive: archive.write_bytes(stored_elsewhere(b"\0" * 20, 1000, zipfile.ZIP_LZMA)),
        "settings of its LZMA data are damaged",
    ),
    "link of megabytes": (zipped((unix("a", stat.S_IFLNK), bytes(1 << 20))), "a path of 1,048,576 bytes"),
}


@pytest.mark.parametrize(("make", "says"), BAD_ZIPS.values(), ids=BAD_ZIPS)
def test_a_zip_that_lies_is_refused_whole(tmp_path: Path, make: Make, says: str) -> None:
    """What its list claims is compared with what its members say and hold."""
    error = refusal(make, tmp_path, "a.zip")
    with pytest.raises(DataError, match=f"a.zip cannot be unpacked: .*{says}"):
        raise error


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (put("<H", 8, 1), "it is encrypted, which is not unpacked; pack it without a password"),
        (zipped((unix(IMAGE, stat.S_IFLNK), b"/etc/passwd")), "it is a link to /etc/passwd, an absolute path"),
        (zipped((unix(IMAGE, stat.S_IFLNK), b"../../../etc/passwd")), "which leads outside the source"),
        (zipped((unix(IMAGE, stat.S_IFIFO), b"")), "it is a pipe"),
        (zipped((unix(IMAGE, stat.S_IFBLK), b"")), "it is a device"),
        (zipped((IMAGE, b"x"), (IMAGE.replace("v", "V"), b"y")), "differs only in case"),
    ],
    ids=["encrypted", "absolute link", "link out", "pipe", "device", "another case"],
)
def test_a_wanted_member_of_a_zip_that_is_no_plain_file_is_refused(tmp_path: Path, make: Make, says: str) -> None:
    """As in a tar."""
    assert says in refusal(make, tmp_path, "a.zip").what


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_file_twice_in_a_zip_is_refused(tmp_path: Path) -> None:
    """Programs disagree which of them counts."""
    assert "holds it twice" in refusal(zipped((IMAGE, b"x"), (IMAGE, b"y")), tmp_path, "a.zip").what
