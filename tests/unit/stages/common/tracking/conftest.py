"""An embedded store that these tests share, and runtimes in it that never meet."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stages.common.runtime import Runtime
from tests.support.tracking.empty_store import start_store
from tests.support.tracking.tracked import embedded_runtime

MakeRuntime = Callable[..., Runtime]


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one embedded store, which the tests share."""
    return start_store(tmp_path_factory.mktemp("mlruns") / "deep")


@pytest.fixture
def make_runtime(store: Path, request: pytest.FixtureRequest) -> MakeRuntime:
    """Runtimes of the shared store; the fingerprint is the test's own, so tests never meet."""

    def make(**changes: Any) -> Runtime:
        named = {
            "stage": "train@dice_ce-0",
            "fingerprint": request.node.name,
            "data_fingerprint": "data",
            "code_fingerprint": "code",
        }
        return embedded_runtime(store, **{**named, **changes})

    return make
