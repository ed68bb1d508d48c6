"""The two commands of a newcomer, on a machine that has Python and Git."""

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from tests.support.clone import Clone
from tests.support.environment import WRAPPER, link_environment
from tests.support.parts import command_environment

MINUTES_AFTER_INSTALLATION = 10
# the same job on little: a smaller network takes longer steps on smaller patches
SMALL = {
    "training.folds": "[0]",
    "training.filters": "[8, 16, 32]",
    "training.patch_voxels": "[8, 48, 48]",
    "training.learning_rate": "0.005",
    "training.validation_interval": "10",
}


@pytest.mark.slow
def test_reproduce_from_a_fresh_clone(tmp_path: Path) -> None:
    """`./just reproduce` trains on the phantom to DSC ≥ 0.80 and shows the table; repeated, it is up to date.

    Its environment has the packages that `capillary[stages]` requires and no others. One fold of the three is trained:
    the others are the same job.
    """
    clone = Clone(tmp_path / "clone")
    clone.set_params(SMALL)
    link_environment(clone.root / ".venv", "capillary[stages]", WRAPPER)
    environment = _bare_environment()
    _run(clone, environment, "./just", "setup")
    started = time.monotonic()
    first = _run(clone, environment, "./just", "reproduce")
    assert time.monotonic() - started < MINUTES_AFTER_INSTALLATION * 60
    assert "centreline DSC" in first
    assert clone.metrics()["dice_ce"]["dsc"]["mean"] >= 0.80

    second = _run(clone, environment, "./just", "reproduce")
    assert clone.ran(second) == []
    assert "up to date" in second
    shutil.rmtree(clone.root / ".venv")


def _bare_environment() -> dict[str, str]:
    """No virtual environment on PATH, as in a newcomer's shell."""
    environment = command_environment()
    kept = [folder for folder in environment["PATH"].split(os.pathsep) if ".venv" not in folder]
    return {**environment, "PATH": os.pathsep.join(kept)}


def _run(clone: Clone, environment: dict[str, str], *argv: str) -> str:
    done = subprocess.run(argv, cwd=clone.root, env=environment, check=False, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout
