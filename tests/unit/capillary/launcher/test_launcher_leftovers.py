from pathlib import Path

from capillary.launcher.leftovers import remove_resume_folders
from stages.train.resuming.lock import cell_lock

NAMES = [f"train-{letter * 16}" for letter in "abc"]


def test_resume_folders_go_but_for_those_whose_run_goes_on(tmp_path: Path) -> None:
    """A container's is named, a process holds the lock of its own; nothing else in the folder is touched."""
    stopped, in_container, training = (tmp_path / name for name in NAMES)
    for folder in (stopped, in_container, training, tmp_path / "notes"):
        folder.mkdir()
        (folder / "checkpoint.pt").write_text("weights")
    with cell_lock(training):
        remove_resume_folders(tmp_path, {in_container.name})
    assert sorted(folder.name for folder in tmp_path.iterdir()) == ["notes", in_container.name, training.name]
    remove_resume_folders(tmp_path, set())
    assert [folder.name for folder in tmp_path.iterdir()] == ["notes"]
