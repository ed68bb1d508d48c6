"""A new project runs at once in containers: its images are built from its own files."""

import json
import subprocess
import sys
from pathlib import Path

from tests.support.docker.containers import client
from tests.support.parts import command_environment


def test_a_new_project_runs_in_containers(tmp_path: Path) -> None:
    """From `capillary new` to the confusion matrix; the model comes back from the store by the path that wrote it."""
    client()
    environment = command_environment(CAPILLARY_EXECUTOR="docker")
    for folder, argv in ((tmp_path, ["capillary", "new", "flowers"]), (tmp_path / "flowers", ["dvc", "repro"])):
        done = subprocess.run(argv, cwd=folder, env=environment, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    metrics = json.loads((tmp_path / "flowers" / "metrics" / "metrics.json").read_text())
    assert metrics["accuracy"] > 0.9
    card = json.loads((tmp_path / "flowers" / "models" / "card.json").read_text())
    assert card["name"] == "flowers"
    # a plain process that sees the same files gives the same numbers
    again = {**environment, "CAPILLARY_EXECUTOR": "process"}
    argv = [str(Path(sys.prefix, "bin", "dvc")), "repro", "--force", "--single-item", "evaluate"]
    subprocess.run(argv, cwd=tmp_path / "flowers", env=again, check=True, capture_output=True)
    assert json.loads((tmp_path / "flowers" / "metrics" / "metrics.json").read_text()) == metrics
