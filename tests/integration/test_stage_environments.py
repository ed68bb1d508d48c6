"""A stage's requirements are enough for it, and no more than it needs."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.parts import REPOSITORY

HEAVY = {"torch", "monai", "mlflow", "dvc"}


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["ingest"])
def test_a_stage_installs_by_itself_and_runs(stage: str, tmp_path: Path) -> None:
    """In an environment with its requirements alone the stage starts, and no deep-learning package came along."""
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    requirements = REPOSITORY / "stages" / stage / "requirements.txt"
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "-c", REPOSITORY / "constraints.txt", "-r", requirements], check=True, capture_output=True)
    listed = subprocess.run(
        [python, "-m", "pip", "list", "--format=freeze"], check=True, capture_output=True, text=True
    )
    assert {line.split("==")[0].lower() for line in listed.stdout.splitlines()}.isdisjoint(HEAVY)

    work = tmp_path / "work"
    work.mkdir()
    for name in ("stages", "samples"):
        (work / name).symlink_to(REPOSITORY / name)
    (work / "params.yaml").write_text("ingest: {source: samples/phantom, on_invalid: fail}\n")
    (work / "data").mkdir()
    done = subprocess.run(
        [python, "-m", f"stages.{stage}"],
        cwd=work,
        env={"PYTHONPATH": str(work)},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert (work / "data" / "raw" / "volumes.csv").is_file()
