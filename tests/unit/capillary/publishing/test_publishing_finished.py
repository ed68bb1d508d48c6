import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from capillary.publishing import finished
from stages.common.errors import CapillaryError


def plan(root: Path, *, fingerprint: str = "a" * 64, resume: bool = True, workspace: Path | None = None) -> Any:
    """The part of a StagePlan that is looked at."""
    return SimpleNamespace(
        address="train@x-0",
        repository=root,
        root=workspace or root,
        outs=("models/x.json", "curves"),
        access=SimpleNamespace(resume=resume),
        order=SimpleNamespace(fingerprint=fingerprint),
    )


@pytest.fixture
def work(tmp_path: Path) -> Path:
    work = tmp_path / "work"
    (work / "models").mkdir(parents=True)
    (work / "models" / "x.json").write_text("card")
    (work / "curves").mkdir()
    (work / "curves" / "a.csv").write_text("1,2")
    return work


def test_what_was_kept_can_be_published_as_often_as_wanted(tmp_path: Path, work: Path) -> None:
    """Files and folders, byte for byte."""
    root = tmp_path / "root"
    finished.keep(plan(root), work)
    for _ in range(2):
        assert finished.take(plan(root))
        assert (root / "models" / "x.json").read_text() == "card"
        assert (root / "curves" / "a.csv").read_text() == "1,2"
        (root / "models" / "x.json").unlink()


def test_another_fingerprint_gets_nothing(tmp_path: Path, work: Path) -> None:
    """Other data, params, code or packages: the outs are not theirs."""
    finished.keep(plan(tmp_path), work)
    assert not finished.take(plan(tmp_path, fingerprint="b" * 64))


def test_only_the_last_run_of_a_cell_is_kept(tmp_path: Path, work: Path) -> None:
    """The room does not grow with every experiment."""
    finished.keep(plan(tmp_path), work)
    finished.keep(plan(tmp_path, fingerprint="b" * 64), work)
    assert not finished.take(plan(tmp_path))
    assert finished.take(plan(tmp_path, fingerprint="b" * 64))
    assert len(list((tmp_path / ".capillary" / "finished").iterdir())) == 1


def test_a_stage_that_cannot_resume_is_not_kept(tmp_path: Path, work: Path) -> None:
    """Its outs may be large, and it is repeated anyway."""
    finished.keep(plan(tmp_path, resume=False), work)
    assert not finished.take(plan(tmp_path, resume=False))


def test_half_a_copy_is_no_copy(tmp_path: Path, work: Path) -> None:
    """A kill in the middle of keeping leaves nothing that could be taken."""
    room = tmp_path / ".capillary" / "finished"
    for name in ("models", "curves/of another run"):
        (room / f".train@x-0-{'a' * 16}.tmp" / name).mkdir(parents=True)
    assert not finished.take(plan(tmp_path))
    finished.keep(plan(tmp_path), work)
    assert finished.take(plan(tmp_path))
    assert [path.name for path in (tmp_path / "curves").iterdir()] == ["a.csv"]


def test_half_a_removal_is_no_copy(tmp_path: Path, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill while the copy of the run before is removed, and one before the files are on the disk."""

    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    finished.keep(plan(tmp_path), work)
    for module, name in ((shutil, "rmtree"), (os, "fsync")):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, die)
            with pytest.raises(KeyboardInterrupt):
                finished.keep(plan(tmp_path), work)
        assert not finished.take(plan(tmp_path))
    finished.keep(plan(tmp_path), work)
    assert finished.take(plan(tmp_path))
    assert [path.name for path in (tmp_path / ".capillary" / "finished").iterdir()] == [f"train@x-0-{'a' * 16}"]


def test_half_a_taking_is_begun_anew(tmp_path: Path, work: Path) -> None:
    """A kill in the middle of publishing leaves what was kept, and nothing else once it was taken."""
    finished.keep(plan(tmp_path), work)
    room = tmp_path / ".capillary" / "finished"
    (room / f".train@x-0-{'a' * 16}.taken" / "stray").mkdir(parents=True)
    assert finished.take(plan(tmp_path))
    assert [path.name for path in room.iterdir()] == [f"train@x-0-{'a' * 16}"]


def test_a_temporary_experiment_keeps_in_the_repository_and_publishes_in_its_workspace(
    tmp_path: Path, work: Path
) -> None:
    """The workspace is removed after the run; another experiment of the same kind takes from the repository."""
    repository, workspace = tmp_path / "repository", tmp_path / "workspace"
    finished.keep(plan(repository, workspace=workspace), work)
    assert finished.take(plan(repository, workspace=workspace))
    assert (workspace / "models" / "x.json").read_text() == "card"
    assert not (repository / "models").exists()


def test_outs_of_other_cells_stay(tmp_path: Path, work: Path) -> None:
    """Each cell keeps its own."""
    other = plan(tmp_path)
    other.address = "train@y-0"
    finished.keep(other, work)
    finished.keep(plan(tmp_path), work)
    assert finished.take(other)


@pytest.mark.parametrize("address", ["train@x-0", "train@a/b-0", "train@a%2Fb-0"])
def test_a_run_is_known_by_its_whole_address(tmp_path: Path, work: Path, address: str) -> None:
    """Neither a longer address that begins alike nor a slash in a matrix' item confuses two runs."""
    others = ["train@x-0-1", "train@x-0-cafe", "train@a-b-0", "train@a/b-0/c", "train@x"]
    for other in [address, *others]:
        finished.keep(with_address(plan(tmp_path), other), work)
    finished.keep(with_address(plan(tmp_path, fingerprint="b" * 64), address), work)
    assert not finished.take(with_address(plan(tmp_path), address))
    assert finished.take(with_address(plan(tmp_path, fingerprint="b" * 64), address))
    for other in others:
        assert finished.take(with_address(plan(tmp_path), other))


def with_address(made: Any, address: str) -> Any:
    made.address = address
    return made


@pytest.mark.parametrize("name", ["models/x.json", "curves", "curves/more"])
def test_a_link_in_what_was_kept_is_refused_by_name(tmp_path: Path, work: Path, name: str) -> None:
    """Whoever can write there could else publish any file of the user."""
    finished.keep(plan(tmp_path / "root"), work)
    (kept,) = (tmp_path / "root" / ".capillary" / "finished").iterdir()
    (tmp_path / "secret").write_text("a key")
    place = kept / name
    if place.is_dir():
        shutil.rmtree(place)
    place.unlink(missing_ok=True)
    place.symlink_to(tmp_path / "secret")
    with pytest.raises(CapillaryError, match="what was kept of train@x-0 holds a link") as caught:
        finished.take(plan(tmp_path / "root"))
    assert (str(caught.value.file), caught.value.value) == (name, str(tmp_path / "secret"))
    assert str(kept) in caught.value.remedy
    assert not (tmp_path / "root" / "curves").exists()
