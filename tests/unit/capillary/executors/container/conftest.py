from collections.abc import Callable
from pathlib import Path

import pytest

from capillary.planning.plan import StagePlan
from tests.unit.capillary.executors.container.fake_container import Run
from tests.unit.capillary.executors.container.fake_daemon import Daemon

IMAGE_FILES = ("stages/toy/Dockerfile", "stages/toy/requirements.txt", "constraints.txt")


@pytest.fixture
def daemon() -> Daemon:
    return Daemon()


@pytest.fixture
def image_files(root: Path) -> Path:
    """A workspace with the files that make the image of `toy`."""
    for name in IMAGE_FILES:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    return root


@pytest.fixture
def run(make_plan: Callable[..., StagePlan], image_files: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A plan of `toy`, to be executed on a daemon that is none."""
    return Run(make_plan("data/in.txt", grace_s=30.0), monkeypatch)
