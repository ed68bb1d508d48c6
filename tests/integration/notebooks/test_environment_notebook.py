"""The environment test runs from its first to its last cell, in a kernel of this environment."""

import importlib.util
import json
import subprocess
from pathlib import Path

from tests.support.parts import REPOSITORY, command_environment, require

NOTEBOOK = REPOSITORY / "notebooks" / "00-environment-test.ipynb"


def test_every_test_of_the_notebook_passes_here(tmp_path: Path) -> None:
    """Where the pipeline's own tests run, the notebook finds nothing wrong; it is started as its README says."""
    present = all(importlib.util.find_spec(name) for name in ("nbclient", "ipykernel"))
    require(present, "nbclient and ipykernel, of the extra dev")
    # no server of the developer's own .env
    environment = command_environment(IPYTHONDIR=str(tmp_path), MLFLOW_TRACKING_URI="")
    argv = ["jupyter", "execute", str(NOTEBOOK), "--output", str(tmp_path / "executed.ipynb")]
    done = subprocess.run(argv, cwd=REPOSITORY, env=environment, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    cells = json.loads((tmp_path / "executed.ipynb").read_text())["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", []) if "data" in output]
    assert "tests passed" in "".join(outputs[-1]["data"]["text/plain"])
