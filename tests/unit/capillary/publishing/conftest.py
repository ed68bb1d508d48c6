"""What a stage worked in."""

from pathlib import Path

import pytest


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A stage's working folder with a link to a dep."""
    work = tmp_path / "sandbox" / "work"
    (work / "data").mkdir(parents=True)
    (work / "params.yaml").touch()
    (tmp_path / "in.txt").write_text("in")
    (work / "data/in.txt").symlink_to(tmp_path / "in.txt")
    return work
