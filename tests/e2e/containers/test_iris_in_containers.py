"""A new project runs at once in containers: its images are built from its own files."""

import json
import subprocess
from pathlib import Path
from typing import Any

from tests.support.docker.containers import client
from tests.support.warm import warm_environment


def run(folder: Path, *argv: str, executor: str) -> None:
    """A command in `folder`, whose stages are run by `executor`."""
    environment = warm_environment(CAPILLARY_EXECUTOR=executor)
    done = subprocess.run(argv, cwd=folder, env=environment, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_new_project_runs_in_containers(tmp_path: Path) -> None:
    """From `capillary new` to the confusion matrix; the model comes back from the store by the path that wrote it."""
    client()
    root = tmp_path / "flowers"
    run(tmp_path, "capillary", "new", "flowers", executor="docker")
    run(root, "dvc", "repro", executor="docker")
    metrics = metrics_of(root)
    assert metrics["accuracy"] > 0.9
    card = json.loads((root / "models" / "card.json").read_text())
    assert card["name"] == "flowers"
    # a plain process that sees the same files gives the same numbers
    run(root, "dvc", "repro", "--force", "--single-item", "evaluate", executor="process")
    assert metrics_of(root) == metrics


def metrics_of(root: Path) -> dict[str, Any]:
    metrics: dict[str, Any] = json.loads((root / "metrics" / "metrics.json").read_text())
    return metrics
