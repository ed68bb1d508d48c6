"""A fresh clone of this repository, as a user gets it, driven by the commands that a user types."""

import json
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import pytest
from filelock import FileLock
from mlflow.entities import Run

from tests.support.parts import REPOSITORY, command_environment
from tests.support.secrets import LOGIN
from tests.support.warm import warm_environment

# the whole pipeline in well under a minute; the numbers mean nothing
TINY = {
    "training.folds": "[0]",
    "training.max_epochs": "2",
    "training.steps_per_epoch": "2",
    "training.warmup_epochs": "1",
    "training.filters": "[4,8,16]",
    "training.patch_voxels": "[8,32,32]",
    "training.validation_interval": "2",
    # hardly a voxel passes: thinning the noise that an untrained network predicts would take most of the time
    "evaluation.threshold": "0.9",
    "evaluation.bootstrap_iterations": "100",
}


class Clone:
    """A clone with the commands of the environment that runs the tests: `run` has warm ones, `start` the real ones."""

    def __init__(self, root: Path, origin: Path = REPOSITORY) -> None:
        self.root = root
        subprocess.run(["git", "clone", "-q", "--no-hardlinks", str(origin), str(root)], check=True)

    @classmethod
    def copy_of(cls, clone: Path, root: Path) -> "Clone":
        """All files of the clone at `clone` as they are, at `root`."""
        shutil.copytree(clone, root, symlinks=True)
        copy = cls.__new__(cls)
        copy.root = root
        return copy

    def run(self, *argv: str, check: bool = True, **variables: str) -> subprocess.CompletedProcess[str]:
        """A command in the clone, output captured."""
        done = subprocess.run(
            argv, cwd=self.root, env=warm_environment(**variables), check=False, capture_output=True, text=True
        )
        if check:
            assert done.returncode == 0, f"{' '.join(argv)}\n{done.stdout}\n{done.stderr}"
        return done

    def environment(self) -> dict[str, str]:
        """A user's environment."""
        return command_environment()

    def start(self, *argv: str, log: Path) -> subprocess.Popen[bytes]:
        """A command in the background, output in `log`."""
        with log.open("ab") as stream:
            return subprocess.Popen(
                argv, cwd=self.root, env=command_environment(), stdout=stream, stderr=subprocess.STDOUT
            )

    def set_params(self, overrides: dict[str, str]) -> None:
        """Edit params.yaml in place: dotted keys, values as they would be typed."""
        text = (self.root / "params.yaml").read_text().splitlines()
        for key, value in overrides.items():
            section, name = key.split(".")
            start = text.index(f"{section}:")
            line = next(i for i in range(start + 1, len(text)) if text[i].startswith(f"  {name}:"))
            text[line] = f"  {name}: {value}"
        (self.root / "params.yaml").write_text("\n".join(text) + "\n")

    def ran(self, output: str) -> list[str]:
        """The stages that DVC ran, by the lines in its output."""
        return [line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage")]

    def card(self, loss: str = "dice_ce", fold: int = 0) -> dict[str, Any]:
        """A model card."""
        card: dict[str, Any] = json.loads((self.root / "models" / loss / f"fold_{fold}.json").read_text())
        return card

    def receipt(self, loss: str = "dice_ce", fold: int = 0) -> dict[str, str]:
        """What the only server of the project made of a training."""
        file = self.root / ".capillary" / "receipts" / f"{self.card(loss, fold)['fingerprint']}.json"
        ((_, receipt),) = json.loads(file.read_text())["servers"].items()
        found: dict[str, str] = receipt
        return found

    def metrics(self) -> dict[str, dict[str, dict[str, float]]]:
        """metrics/metrics.json."""
        metrics: dict[str, dict[str, dict[str, float]]] = json.loads(
            (self.root / "metrics" / "metrics.json").read_text()
        )
        return metrics

    def client(self) -> mlflow.MlflowClient:
        """A client of the clone's embedded store."""
        return mlflow.MlflowClient(f"sqlite:///{self.root / 'mlruns' / 'mlflow.db'}")

    def training_runs(self) -> list[Run]:
        """MLflow's runs of train cells."""
        client = self.client()
        experiment = client.get_experiment_by_name("capillary")
        assert experiment is not None, "no stage has opened a run"
        runs = client.search_runs([experiment.experiment_id])
        return [run for run in runs if run.data.tags.get("capillary.stage", "").startswith("train")]

    def doubled_points(self, run: Run) -> list[tuple[str, int]]:
        """(key, step) pairs that a run holds more than once, system metrics included."""
        client = self.client()
        counts: Counter[tuple[str, int]] = Counter()
        for key in run.data.metrics:
            counts.update((key, point.step) for point in client.get_metric_history(run.info.run_id, key))
        return [pair for pair, count in counts.items() if count > 1]


def prepared_clone(folders: pytest.TempPathFactory, root: Path) -> Clone:
    """A clone at `root` in which the tiny pipeline ran as far as preprocess, with an MLflow store that has no run."""

    def make(part: Path) -> None:
        made = Clone(part)
        made.set_params(TINY)
        made.run("dvc", "repro", "preprocess", **LOGIN)  # of which no file may have any
        made.client().search_experiments()  # whoever first asks a new store waits for all of MLflow's migrations

    return Clone.copy_of(_shared(folders, "prepared", make), root)


def finished_clone(folders: pytest.TempPathFactory, root: Path) -> Clone:
    """A clone at `root` in which the tiny pipeline ran once, by processes."""

    def make(part: Path) -> None:
        prepared_clone(folders, part).run("dvc", "repro")

    return Clone.copy_of(_shared(folders, "finished", make), root)


def _shared(folders: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """The folder `name` that `make` makes for whichever test asks first, for all processes of this test session."""
    session = folders.getbasetemp()
    if session.name.startswith("popen-"):  # one of several test processes, whose folders are in one
        session = session.parent
    with FileLock(session / f"{name}.lock"):
        if not (session / name).exists():
            make(session / f"{name}.part")
            (session / f"{name}.part").rename(session / name)
    return session / name
