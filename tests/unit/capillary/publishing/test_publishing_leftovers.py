from pathlib import Path

import pytest

from capillary.publishing.leftovers import clear, plan_cleanup, remove_resume_folders, remove_torn
from stages.train.resuming.lock import cell_lock

NAMES = [f"train-{letter * 16}" for letter in "abc"]


def test_resume_folders_go_but_for_those_whose_run_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A container's is named, a process holds the lock of its own; nothing else in the folder is touched."""
    stopped, in_container, training = (tmp_path / name for name in NAMES)
    others = (tmp_path / "notes", tmp_path / "train-abc", tmp_path / f"train-{'A' * 16}")
    for folder in (stopped, in_container, training, *others):
        folder.mkdir()
        (folder / "checkpoint.pt").write_text("weights")
    with cell_lock(training):
        remove_resume_folders(tmp_path, {in_container.name})
    assert set(tmp_path.iterdir()) == {*others, in_container, training}
    said = "".join(capsys.readouterr().out.split())
    assert said.count(f"{stopped}:itsruncannolongerberesumed") == said.count(f"{training}stays") == 1
    remove_resume_folders(tmp_path, set())
    assert set(tmp_path.iterdir()) == set(others)


@pytest.mark.parametrize(
    ("text", "stays"), [('{"/x": [1]}', True), ('{"/x": [', False), ("", False)], ids=["whole", "torn", "empty"]
)
def test_a_torn_list_of_dvc_s_is_removed(tmp_path: Path, text: str, stays: bool) -> None:
    """DVC would refuse whatever it is asked for; a whole list may be another process's."""
    file = tmp_path / ".dvc" / "tmp" / "rwlock"
    remove_torn(tmp_path)
    file.parent.mkdir(parents=True)
    file.write_text(text)
    remove_torn(tmp_path)
    assert file.exists() == stays


def test_a_file_that_no_stage_makes_is_removed_where_dvc_keeps_it_and_else_moved_aside(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each is named; folders that are empty then go, one that others use stays, and nothing aside is replaced."""
    root, aside = tmp_path / "project", tmp_path / "project" / ".capillary" / "aside"
    files = {name: root / "models" / name for name in ("b/kept.json", "c/kept.json", "c/mine.json", "d/own.json")}
    for file in (*files.values(), aside / "models/c/mine.json"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(file.name)
    (aside / "models/c/mine.json").write_text("an earlier one")
    strays = [files[name] for name in ("b/kept.json", "c/kept.json", "c/mine.json")]
    planned = plan_cleanup(strays, root, aside, lambda file: file.name == "kept.json")
    assert planned.removed == (files["b/kept.json"], files["c/kept.json"])
    clear(planned, root, "evaluate")
    assert [path.name for path in (root / "models").iterdir()] == ["d"]
    assert (aside / "models/c/mine.json").read_text() == "an earlier one"
    assert (aside / "models/c/mine.json.2").read_text() == "mine.json"
    said = " ".join(capsys.readouterr().out.split())
    assert "models/b/kept.json, models/c/kept.json" in said
    assert "evaluate would depend on models/c/mine.json" in said


def test_where_there_is_nothing_to_clear_nothing_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As with nearly every stage."""
    clear(plan_cleanup([], tmp_path, tmp_path / "aside", lambda _file: False), tmp_path, "evaluate")
    assert not list(tmp_path.iterdir())
    assert capsys.readouterr().out == ""
