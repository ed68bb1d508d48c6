"""Fixtures of the train stage's unit tests."""

from pathlib import Path

import pytest

from stages.common.imaging.volumes import Volume
from tests.unit.stages.train.tiny import write_volumes


@pytest.fixture
def processed(tmp_path: Path) -> Path:
    """data/processed with three tiny volumes in three folds."""
    folder = tmp_path / "processed"
    write_volumes(folder)
    return folder


@pytest.fixture
def volumes(tmp_path: Path) -> list[Volume]:
    """Volumes of differing size, one of them smaller than the tiny patch along z."""
    return write_volumes(tmp_path / "volumes", ((6, 24, 24), (2, 20, 30), (9, 17, 40)))
