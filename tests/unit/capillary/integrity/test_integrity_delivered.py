"""Files that DVC's cache delivered: read once, compared with the record, never changed."""

import dataclasses
import hashlib
import json
from pathlib import Path

import pytest

from capillary.integrity import delivered as module
from capillary.integrity.delivered import MEMORY, Delivered, refuse_damaged
from stages.common.errors import DamagedError, ExitCode


@pytest.fixture
def files(tmp_path: Path) -> list[Delivered]:
    """Three files and their objects in a cache."""
    return [_delivered(tmp_path, name) for name in ("a", "b", "c")]


def _delivered(folder: Path, name: str) -> Delivered:
    file, cached = folder / "data" / name, folder / "cache" / name
    for each in (file, cached):
        each.parent.mkdir(exist_ok=True)
        each.write_text(name)
    md5 = hashlib.md5(name.encode(), usedforsecurity=False).hexdigest()
    return Delivered(file=file, md5=md5, cached=cached, out="data", maker="preprocess")


def _refuse(files: list[Delivered], tmp_path: Path, *, stopped: bool = False) -> None:
    refuse_damaged(files, tmp_path, lambda: stopped)


def _count_reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    read: list[str] = []
    real = module._md5

    def count(file: Path, is_stopped: object) -> str | None:
        read.append(file.name)
        return real(file, is_stopped)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "_md5", count)
    return read


def test_whole_files_are_read_once(files: list[Delivered], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second stage reads nothing; a file that was written again, or is recorded otherwise now, is read again."""
    read = _count_reads(monkeypatch)
    _refuse(files, tmp_path)
    assert sorted(read) == ["a", "b", "c"]
    _refuse(files, tmp_path)
    assert len(read) == 3
    files[0].file.unlink()
    files[0].file.write_text("a")
    _refuse(files, tmp_path)
    assert read[3:] == ["a"]


def test_what_was_read_is_remembered_where_git_does_not_look(files: list[Delivered], tmp_path: Path) -> None:
    """A file of the tool's own that Git saw would make every later run one with uncommitted changes."""
    before = set(tmp_path.iterdir())
    _refuse(files, tmp_path)
    assert set(tmp_path.iterdir()) - before == {tmp_path / ".capillary"}


def test_a_file_that_is_not_what_was_recorded_is_named_with_what_brings_it_back(
    files: list[Delivered], tmp_path: Path
) -> None:
    """Both checksums, the object to remove and how to get it again; it is refused each time, and nothing is changed."""
    for place in (files[1].file, files[1].cached):
        place.write_text("x")
    for _ in range(2):
        with pytest.raises(DamagedError) as refused:
            _refuse(files, tmp_path)
    error = refused.value
    assert error.code == ExitCode.DATA
    assert error.file == files[1].file
    assert files[1].md5 in str(error.value)
    assert hashlib.md5(b"x", usedforsecurity=False).hexdigest() in str(error.value)
    assert str(files[1].cached) in error.remedy
    assert "dvc pull data" in error.remedy
    assert "dvc repro -f -s preprocess" in error.remedy
    assert files[1].file.read_text() == files[1].cached.read_text() == "x"


def test_where_the_cache_is_whole_it_is_not_to_be_touched(files: list[Delivered], tmp_path: Path) -> None:
    """Then only the copy in the workspace is damaged."""
    files[2].file.write_text("x")
    with pytest.raises(DamagedError) as refused:
        _refuse(files, tmp_path)
    assert str(files[2].cached) not in refused.value.remedy
    assert "dvc checkout data" in refused.value.remedy


def test_what_nobody_makes_is_added_again(files: list[Delivered], tmp_path: Path) -> None:
    """Data that the user added to DVC have no stage."""
    added = dataclasses.replace(files[0], maker=None)
    for place in (added.file, added.cached):
        place.write_text("x")
    with pytest.raises(DamagedError, match="damaged") as refused:
        _refuse([added], tmp_path)
    assert "dvc add data" in refused.value.remedy


def test_a_stop_ends_the_reading_and_remembers_nothing_of_it(
    files: list[Delivered], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C is not answered after gigabytes; what was not read to its end is read the next time."""
    _refuse(files, tmp_path, stopped=True)
    read = _count_reads(monkeypatch)
    _refuse(files, tmp_path)
    assert len(read) == 3


@pytest.mark.parametrize("torn", [b"", b"{", b"[1, 2]", b"\xff"])
def test_a_torn_memory_only_costs_time(files: list[Delivered], tmp_path: Path, torn: bytes) -> None:
    """What it holds is nobody's but its own, and is made again; files that are gone are forgotten."""
    (tmp_path / MEMORY).parent.mkdir()
    (tmp_path / MEMORY).write_bytes(torn)
    _refuse(files, tmp_path)
    files[0].file.unlink()
    files[1].file.write_text("x")
    files[1].file.write_text("b")
    _refuse(files[1:], tmp_path)
    assert set(json.loads((tmp_path / MEMORY).read_text())) == {str(each.file) for each in files[1:]}
