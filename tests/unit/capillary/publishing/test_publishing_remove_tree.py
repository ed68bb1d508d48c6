"""What a stage left is removed, whatever it is: else each later run of the project would meet it again."""

import inspect
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from capillary.executors.sandbox import own_folder
from capillary.publishing.publish import check_scratch, refuse_foreign
from capillary.publishing.remove_tree import remove_tree
from stages.common.errors import ExitCode, UndeclaredError

DEPTH = 150


@pytest.fixture(autouse=True)
def few_calls() -> Iterator[None]:
    """Python allows fewer calls in calls than there are folders in folders; usually it allows 1000."""
    usual = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack()) + DEPTH)
    yield
    sys.setrecursionlimit(usual)


def dig(folder: Path) -> None:
    """Folders in folders, with a file and a link out of them in the last one."""
    folder.mkdir(parents=True)
    here = Path.cwd()
    os.chdir(folder)
    try:
        for _ in range(DEPTH):
            Path("d").mkdir()
            os.chdir("d")
        Path("file").touch()
        Path("link").symlink_to(here)
    finally:
        os.chdir(here)


def test_folders_in_folders_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a link in them leads to stays."""
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").touch()
    monkeypatch.chdir(kept)
    dig(tmp_path / "left")
    remove_tree(tmp_path / "left")
    assert [file.name for file in tmp_path.iterdir()] == ["kept"]
    assert (kept / "file").exists()


def test_a_stage_that_dug_deep_stops_no_later_run(tmp_path: Path) -> None:
    """Its folder goes at its end; that of a launcher that was killed goes with the next run."""
    with own_folder(tmp_path, "toy") as base:
        dig(base / "tmp")
    assert not base.exists()
    left = base.with_name("killed")
    dig(left / "tmp")
    (left / "lock").touch()
    with own_folder(tmp_path, "toy"):
        assert not left.exists()


def test_an_out_that_is_too_deep_is_refused(work: Path) -> None:
    """By a name that can be read; so is a state folder."""
    dig(work / "data/out")
    with pytest.raises(UndeclaredError, match="more than 100 deep") as caught:
        check_scratch(work, ["data/out"], {work / "data/in.txt"}, "toy")
    assert (caught.value.file, caught.value.code) == (work / "data/out/d/d/d/…", ExitCode.UNDECLARED)
    with pytest.raises(UndeclaredError, match="more than 100 deep"):
        refuse_foreign(work / "data/out", "the state of toy", "remove it")
    remove_tree(work)  # pytest's own removal calls itself, too


def test_what_cannot_be_removed_is_told_or_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A training that must not resume may not find the former state."""
    (tmp_path / "left/inner").mkdir(parents=True)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "rmdir", refuse)
    remove_tree(tmp_path / "left", may_stay=True)
    with pytest.raises(PermissionError):
        remove_tree(tmp_path / "left")
