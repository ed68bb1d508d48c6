"""The train stage as a real process in a sandbox, as the launcher starts it, with an embedded MLflow."""

import io
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from mlflow import MlflowClient
from mlflow.entities import Run

from tests.support.orders import write_order
from tests.support.warm import warm_python
from tests.unit.stages.train.tiny import PARAMS, write_volumes

ROOT = Path(__file__).parents[3]


@dataclass(frozen=True, kw_only=True)
class Sandbox:
    """A working folder with data/processed, params.yaml and places for the outs."""

    folder: Path

    def command(self, fold: int = 0, loss: str = "dice_ce") -> list[str]:
        """How the stage is started, on an interpreter that has the libraries already."""
        return [warm_python(), "-m", "stages.train", "--loss", loss, "--fold", str(fold)]

    def environment(self, **order: object) -> dict[str, str]:
        """What the launcher sets; it writes the stage's order with `order` in it."""
        write_order(self.folder, **{"stage": "train", "fingerprint": "f" * 12, "state_dir": Path("state"), **order})
        return {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
            "CAPILLARY_TEST_WARM": "all",  # its workers, too
            "MLFLOW_TRACKING_URI": f"sqlite:///{self.folder}/mlruns/mlflow.db",
        }

    def start(self, **order: object) -> "subprocess.Popen[str]":
        """The stage of fold 0, started and not waited for; stdout and stderr in one pipe."""
        return subprocess.Popen(
            self.command(),
            cwd=self.folder,
            env=self.environment(**order),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, fold: int = 0, loss: str = "dice_ce", **order: object) -> "subprocess.CompletedProcess[str]":
        """The stage, run to its end."""
        return subprocess.run(
            self.command(fold, loss),
            cwd=self.folder,
            env=self.environment(**order),
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )

    def checkpoint(self) -> dict[str, Any]:
        """Content of the current checkpoint: identity, versions, state."""
        payload = (self.folder / "state" / "checkpoint.pt").read_bytes().partition(b"\n")[2]
        content: dict[str, Any] = torch.load(io.BytesIO(payload), weights_only=True)
        return content

    def client(self) -> MlflowClient:
        """The sandbox's own MLflow."""
        return MlflowClient(f"sqlite:///{self.folder}/mlruns/mlflow.db")

    def runs(self) -> list[Run]:
        """Every MLflow run."""
        client = self.client()
        return list(client.search_runs([experiment.experiment_id for experiment in client.search_experiments()]))


def make_sandbox(folder: Path, **changes: object) -> Sandbox:
    """A sandbox with three tiny volumes and the tiny params with `changes`."""
    write_volumes(folder / "data" / "processed")
    for out in ("models/dice_ce", "metrics/training/dice_ce"):
        (folder / out).mkdir(parents=True)
    (folder / "params.yaml").write_text(yaml.safe_dump({"training": {**PARAMS, **changes}}))
    return Sandbox(folder=folder)
