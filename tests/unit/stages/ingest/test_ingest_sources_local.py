"""Folders and archives as sources."""

import errno
import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from stages.common.errors import DataError
from stages.ingest.sources.local import LocalFolder
from stages.ingest.sources.source import Source, open_source


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a table and one file below."""
    source = tmp_path / "source"
    (source / "images").mkdir(parents=True)
    (source / "dataset.csv").write_text("id\n")
    (source / "images" / "a b.tif").write_bytes(bytes(range(256)) * 9)
    return source


def _zip(folder: Path, archive: Path, top: str = "") -> None:
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as zipped:
        for file in folder.rglob("*"):
            zipped.write(file, f"{top}{file.relative_to(folder)}")


def _tar(folder: Path, archive: Path, top: str = ".") -> None:
    with tarfile.open(archive, "w:gz") as tarred:
        tarred.add(folder, top)


def _mac_zip(folder: Path, archive: Path) -> None:
    _zip(folder, archive, "stacks/")
    with zipfile.ZipFile(archive, "a") as zipped:
        zipped.writestr("__MACOSX/stacks/._dataset.csv", b"junk")


PACKERS: dict[str, Callable[[Path, Path], None]] = {
    "a.zip": _zip,
    "A.ZIP": _zip,
    "a.tar.gz": _tar,
    "a.tgz": _tar,
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
    for _ in range(2):  # two rows may name one file
        copy = tmp_path / "copy.tif"
        source.fetch("images/a b.tif", copy)
        assert copy.read_bytes() == bytes(range(256)) * 9
        # unpacked files are linked; a user's original must not be, or a change to the copy would change it
        assert copy.stat().st_nlink == (2 if name else 1)
        copy.unlink()


def test_archive_of_minivess_folders_keeps_its_top(tmp_path: Path) -> None:
    """A lone folder is entered, unless it is one of the layout's own."""
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as zipped:
        zipped.writestr("raw/mv01.nii.gz", b"x")
    assert _open(tmp_path / "a.zip", tmp_path).names("raw") == ["mv01.nii.gz"]


@pytest.mark.parametrize(
    ("names", "top"),
    [
        (("stacks/dataset.csv", ".DS_Store"), "stacks"),
        (("stacks/dataset.csv", "notes.txt"), ""),
        (("stacks/a.tif", "dataset.csv"), ""),
        (("dataset.csv",), ""),
        (("stacks/raw/mv01.nii.gz",), "stacks"),
    ],
)
def test_only_a_lone_folder_is_entered(tmp_path: Path, names: tuple[str, ...], top: str) -> None:
    """With other files next to it, the archive's top is the source."""
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as zipped:
        for name in names:
            zipped.writestr(name, b"x")
    source = _open(tmp_path / "a.zip", tmp_path)
    assert isinstance(source, LocalFolder)
    assert source.folder == tmp_path / "scratch" / "unpacked" / top


def _cut(archive: Path) -> None:
    content = archive.read_bytes()
    archive.write_bytes(content[: len(content) // 2])


def _text(archive: Path) -> None:
    archive.write_text("<html>please log in</html>")


def _empty(archive: Path) -> None:
    archive.write_bytes(b"")


@pytest.mark.parametrize("damage", [_cut, _text, _empty])
@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz"])
def test_damaged_archive_is_refused_by_name(
    tmp_path: Path, folder: Path, name: str, damage: Callable[[Path], None]
) -> None:
    """Half a download, or a page that was saved instead of the file."""
    PACKERS[name](folder, tmp_path / name)
    damage(tmp_path / name)
    with pytest.raises(DataError, match="cannot be unpacked") as refused:
        _open(tmp_path / name, tmp_path)
    assert str(refused.value.file).endswith(name)


def test_archive_with_a_password_is_refused(tmp_path: Path, folder: Path) -> None:
    """The error asks for an archive without a password."""
    _zip(folder, tmp_path / "a.zip")
    content = (tmp_path / "a.zip").read_bytes()
    for mark, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):  # local and central headers keep the flag "encrypted"
        parts = content.split(mark)
        content = mark.join([parts[0], *(part[: flags - 4] + b"\x01" + part[flags - 3 :] for part in parts[1:])])
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(DataError, match=r"cannot be unpacked: .*password") as refused:
        _open(tmp_path / "a.zip", tmp_path)
    assert "without a password" in refused.value.remedy


def test_a_full_disk_is_not_blamed_on_the_archive(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An OSError with an errno is passed on unchanged."""

    def fill(*_args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    _zip(folder, tmp_path / "a.zip")
    monkeypatch.setattr(zipfile.ZipFile, "extractall", fill)
    with pytest.raises(OSError, match="No space"):
        _open(tmp_path / "a.zip", tmp_path)


def _climbing_tar(archive: Path) -> None:
    with tarfile.open(archive, "w:gz") as tarred:
        tarred.addfile(tarfile.TarInfo("../../escaped.txt"), io.BytesIO())


def _linking_tar(archive: Path) -> None:
    with tarfile.open(archive, "w:gz") as tarred:
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc"
        tarred.addfile(link)


@pytest.fixture(params=["with filters", "without filters"])
def python(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python with tarfile's filters, and Python before 3.11.4 without them."""
    if request.param == "without filters":
        monkeypatch.delattr(tarfile, "data_filter")


@pytest.mark.usefixtures("python")
@pytest.mark.parametrize("make", [_climbing_tar, _linking_tar])
def test_tar_member_that_leads_out_is_refused(tmp_path: Path, make: Callable[[Path], None]) -> None:
    """An archive from elsewhere cannot write outside its place."""
    make(tmp_path / "a.tar.gz")
    with pytest.raises(DataError, match="cannot be unpacked"):
        _open(tmp_path / "a.tar.gz", tmp_path)
    assert not list(tmp_path.rglob("escaped.txt"))


@pytest.mark.usefixtures("python")
def test_plain_tar_members_are_unpacked(tmp_path: Path, folder: Path) -> None:
    """Files and folders, with and without tarfile's filters."""
    _tar(folder, tmp_path / "a.tar.gz")
    source = _open(tmp_path / "a.tar.gz", tmp_path)
    assert (source.table, source.names("images")) == ("dataset.csv", ["a b.tif"])


def test_zip_member_that_leads_out_lands_inside(tmp_path: Path) -> None:
    """zipfile drops the climbing parts of a name."""
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as zipped:
        zipped.writestr("../../escaped.txt", b"x")
    _open(tmp_path / "a.zip", tmp_path)
    (landed,) = tmp_path.rglob("escaped.txt")
    assert landed.is_relative_to(tmp_path / "scratch")


@pytest.mark.parametrize(("name", "says"), [("nothing", "does not exist"), ("a.csv", "not an archive")])
def test_path_that_is_no_source_is_refused(tmp_path: Path, name: str, says: str) -> None:
    """The setting to correct is named."""
    (tmp_path / "a.csv").write_text("id\n")
    with pytest.raises(DataError, match=says) as refused:
        _open(tmp_path / name, tmp_path)
    assert "ingest" in str(refused.value.file)
    assert refused.value.value == str(tmp_path / name)


def test_entries_of_a_folder_are_sorted(folder: Path) -> None:
    """Sorted by name; a file has no entries."""
    for name in ("c", "a", "b"):
        (folder / "images" / name).touch()
    source = LocalFolder(folder=folder, shown="source")
    assert source.names("images") == ["a", "a b.tif", "b", "c"]
    assert source.names("dataset.csv") == []
    assert LocalFolder(folder=folder / "images", shown="source").table is None


def test_a_copy_overwrites_nothing(tmp_path: Path, folder: Path) -> None:
    """An existing target is an error and keeps its content."""
    (tmp_path / "copy").write_text("mine")
    with pytest.raises(FileExistsError):
        LocalFolder(folder=folder, shown="source").fetch("images/a b.tif", tmp_path / "copy")
    assert (tmp_path / "copy").read_text() == "mine"


def test_linked_file_is_copied_and_a_dangling_link_is_named(tmp_path: Path) -> None:
    """A data folder made of links to an archive disk is a usual one."""
    folder = tmp_path / "source"
    folder.mkdir()
    (tmp_path / "real.tif").write_bytes(b"voxels")
    (folder / "good.tif").symlink_to(tmp_path / "real.tif")
    (folder / "bad.tif").symlink_to("/no/such/disk/a.tif")
    source = LocalFolder(folder=folder, shown="source")
    source.fetch("good.tif", tmp_path / "copy.tif")
    assert not (tmp_path / "copy.tif").is_symlink()
    assert (tmp_path / "copy.tif").read_bytes() == b"voxels"
    with pytest.raises(DataError, match=r"link to /no/such/disk/a\.tif"):
        source.fetch("bad.tif", tmp_path / "copy2.tif")


@pytest.mark.parametrize(("path", "says"), [("gone.tif", "does not exist"), ("images", "folder")])
def test_what_is_no_file_is_refused(tmp_path: Path, folder: Path, path: str, says: str) -> None:
    """A missing file and a folder in its place are told apart."""
    with pytest.raises(DataError, match=says):
        LocalFolder(folder=folder, shown="source").fetch(path, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
