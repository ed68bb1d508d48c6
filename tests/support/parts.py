"""Parts that a machine may lack: a test that needs one skips with its reason, but in CI a missing part fails."""

import os
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
REAL_STACKS = REPOSITORY.parent / "shared" / "datasets" / "vesselnn"


def require(present: bool, part: str) -> None:
    """Skip the test when `part` is missing here; fail it in CI."""
    if present:
        return
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI must have {part}")
    pytest.skip(f"needs {part}")


def command_environment(**more: str) -> dict[str, str]:
    """The environment of a user who has activated .venv: `dvc` and `capillary` of this checkout come first on PATH.

    Stages run as plain processes unless `more` asks for containers: what a test sees must not depend on a daemon. Each
    has one thread: as many tests run as there are cores, and threads that wait for each other on a core that is taken
    make a small network ten times as slow.
    """
    path = f"{Path(sys.prefix) / 'bin'}{os.pathsep}{os.environ['PATH']}"
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CAPILLARY_", "MLFLOW_", "DVC_"))}
    identity = {f"GIT_{who}_{what}": "test" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    fixed = {"CAPILLARY_EXECUTOR": "process", "CAPILLARY_THREADS": "1", "DVC_NO_ANALYTICS": "1"}
    return {**kept, **identity, "PATH": path, **fixed, **more}
