"""Folders as sources."""

import os
from pathlib import Path

import pytest

from stages.common.errors import DataError
from stages.ingest.sources.local import LocalFolder
from stages.ingest.sources.source import open_source


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a table and one file below."""
    source = tmp_path / "source"
    (source / "images").mkdir(parents=True)
    (source / "dataset.csv").write_text("id\n")
    (source / "images" / "a b.tif").write_bytes(bytes(range(256)) * 9)
    return source


@pytest.mark.parametrize(("name", "says"), [("nothing", "does not exist"), ("a.csv", "not an archive")])
def test_path_that_is_no_source_is_refused(tmp_path: Path, name: str, says: str) -> None:
    """The setting to correct is named."""
    (tmp_path / "a.csv").write_text("id\n")
    with pytest.raises(DataError, match=says) as refused:
        open_source(str(tmp_path / name), tmp_path)
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


@pytest.fixture
def linked(tmp_path: Path) -> Path:
    """A folder with a file, a folder of files, and places outside that links may lead to."""
    source = tmp_path / "source"
    for name in ("images/real.tif", "store/deep/v1.tif"):
        (source / name).parent.mkdir(parents=True)
        (source / name).write_bytes(b"voxels")
    (tmp_path / "cache" / "files").mkdir(parents=True)
    for name in ("secret.tif", "cache/files/a1", "source-2"):
        (tmp_path / name).write_bytes(b"voxels")
    return source


@pytest.mark.parametrize(
    ("links", "path"),
    [
        ({"images/a.tif": "real.tif"}, "images/a.tif"),
        ({"images/a.tif": "../images/./real.tif"}, "images/a.tif"),
        ({"images/a.tif": "b.tif", "images/b.tif": "c.tif", "images/c.tif": "real.tif"}, "images/a.tif"),
        ({"linked": "store/deep"}, "linked/v1.tif"),
        ({"linked": "store", "store/again": "deep"}, "linked/again/v1.tif"),
        ({"images/a.tif": "up/v1.tif", "images/up": "../store/deep"}, "images/a.tif"),
        ({"a.tif": "{cache}/files/a1"}, "a.tif"),
        ({"a.tif": "../cache/files/a1"}, "a.tif"),
    ],
)
def test_links_within_the_source_and_into_the_cache_are_copied(
    tmp_path: Path, linked: Path, links: dict[str, str], path: str
) -> None:
    """The file itself; links into DVC's cache are how it may lay out a folder that it tracks."""
    cache = tmp_path / "cache"
    for name, target in links.items():
        (linked / name).symlink_to(target.format(cache=cache))
    LocalFolder(folder=linked, shown="source", cache=cache).fetch(path, tmp_path / "copy.tif")
    assert not (tmp_path / "copy.tif").is_symlink()
    assert (tmp_path / "copy.tif").read_bytes() == b"voxels"


@pytest.mark.parametrize(
    ("links", "says"),
    [
        ({"a.tif": "{outside}/secret.tif"}, r"it is a link to /.*/secret\.tif, an absolute path; copy the file"),
        ({"a.tif": "{outside}/source/images/real.tif"}, "an absolute path"),
        ({"a.tif": "../secret.tif"}, r"it is a link to \.\./secret\.tif, which leads outside the source"),
        ({"a.tif": "../source/images/real.tif"}, "leads outside the source"),
        ({"a.tif": "../source-2"}, "leads outside the source"),
        ({"a.tif": "images/../../secret.tif"}, "leads outside the source"),
        ({"a.tif": "up/secret.tif", "up": ".."}, r"up is a link to \.\., which leads outside the source"),
        ({"a.tif": "b.tif", "b.tif": "../secret.tif"}, r"b\.tif is a link to \.\./secret\.tif, which leads out"),
        ({"a.tif": "../cache-2/files/a1"}, "leads outside the source"),
        ({"a.tif": "cache/../secret.tif", "cache": "../cache/.."}, "leads outside the source"),
        ({"a.tif": "/dev/zero"}, "an absolute path"),
        ({"a.tif": "/proc/self/environ"}, "an absolute path"),
        ({"a.tif": "a.tif"}, r"it is a link to a\.tif, which leads in circles"),
        ({"a.tif": "b.tif", "b.tif": "a.tif"}, "leads in circles"),
        ({"a.tif": "loop/real.tif", "loop": "loop/loop"}, "leads in circles"),
        ({"a.tif": "none.tif"}, r"it is a link to none\.tif, which does not exist"),
        ({"a.tif": "images"}, "this is a folder"),
        ({"a.tif": "bad\x1b[2Jname/../../.."}, r"a link to bad\\x1b\[2Jname"),
    ],
)
def test_a_link_that_leads_out_is_refused_by_name(
    tmp_path: Path, linked: Path, links: dict[str, str], says: str
) -> None:
    """Wherever it leads and whether anything is there: in a container it would lead nowhere. Nothing is copied."""
    for name, target in links.items():
        (linked / name).symlink_to(target.format(outside=tmp_path))
    with pytest.raises(DataError, match=says) as refused:
        LocalFolder(folder=linked, shown="source", cache=tmp_path / "cache").fetch("a.tif", tmp_path / "copy.tif")
    assert (refused.value.file, bool(refused.value.remedy)) == ("a.tif", True)
    assert not (tmp_path / "copy.tif").exists()


def test_a_folder_or_a_table_that_leads_out_is_refused(tmp_path: Path, linked: Path) -> None:
    """By name, not as a source that holds neither."""
    (linked / "raw").symlink_to("../cache")
    (linked / "dataset.csv").symlink_to("../secret.tif")
    source = LocalFolder(folder=linked, shown="source")
    with pytest.raises(DataError, match="leads outside the source"):
        source.names("raw")
    assert source.table == "dataset.csv"
    with pytest.raises(DataError, match="leads outside the source"):
        source.fetch("dataset.csv", tmp_path / "table.csv")


def test_a_pipe_is_not_waited_for(tmp_path: Path, linked: Path) -> None:
    """It would never end."""
    os.mkfifo(linked / "a.tif")
    with pytest.raises(DataError, match="a pipe, a socket or a device"):
        LocalFolder(folder=linked, shown="source").fetch("a.tif", tmp_path / "copy.tif")


@pytest.mark.parametrize(("path", "says"), [("gone.tif", "does not exist"), ("images", "folder")])
def test_what_is_no_file_is_refused(tmp_path: Path, folder: Path, path: str, says: str) -> None:
    """A missing file and a folder in its place are told apart."""
    with pytest.raises(DataError, match=says):
        LocalFolder(folder=folder, shown="source").fetch(path, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
