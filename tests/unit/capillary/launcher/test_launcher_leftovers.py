from pathlib import Path

import pytest

from capillary.launcher.leftovers import remove_resume_folders, remove_torn
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
    assert said.count(f"{stopped}:itsruncannotberesumedanymore") == said.count(f"{training}stays") == 1
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
