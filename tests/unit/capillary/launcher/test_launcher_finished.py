from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from capillary.launcher import finished


def plan(root: Path, *, fingerprint: str = "a" * 64, resume: bool = True, workspace: Path | None = None) -> Any:
    """The part of a StagePlan that is looked at."""
    return SimpleNamespace(
        address="train@x-0",
        repository=root,
        root=workspace or root,
        outs=("models/x.json", "curves"),
        access=SimpleNamespace(resume=resume),
        fingerprint=SimpleNamespace(whole=fingerprint),
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
