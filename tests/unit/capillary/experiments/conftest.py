import os
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A Workspace whose DVC is its stand-in, on a machine without settings; stages are processes on the CPU."""
    # half the tests here need neither DVC nor what the runner imports
    from capillary.experiments import cells, run
    from tests.unit.capillary.experiments.workspace import Workspace

    for name in [name for name in os.environ if name.startswith(("CAPILLARY_", "DVC_", "MLFLOW_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("CAPILLARY_EXECUTOR", "process")
    monkeypatch.setenv("CAPILLARY_PROFILE", "cpu")
    made = Workspace(tmp_path)
    monkeypatch.setattr(run, "KILL_SAFE_DVC", made.dvc.argv)
    monkeypatch.setattr(cells, "KILL_SAFE_DVC", made.dvc.argv)
    monkeypatch.setattr(run, "write_report", made.write_report)
    return made
