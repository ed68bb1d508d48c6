"""A training that is killed at random moments ends as one that was not."""

import contextlib
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import mlflow
import psutil
import pytest
import torch

from tests.support.clone import TINY, Clone

KILLS = 10
LONGER = TINY | {"training.max_epochs": "120", "training.steps_per_epoch": "6", "training.validation_interval": "60"}
COMMAND = ("dvc", "repro", "train@dice_ce-0")


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone in which the training ran through."""
    clone = Clone(tmp_path_factory.mktemp("uninterrupted") / "clone")
    clone.set_params(LONGER)
    clone.run("dvc", "repro", "preprocess")
    clone.run(*COMMAND)
    return clone


def _epochs(log: Path) -> int:
    """Epochs that all attempts together have reported."""
    return sum(line.startswith("epoch ") for line in log.read_text().splitlines()) if log.exists() else 0


def _wait_until(happened: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while not happened() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)


def _kill_one(dvc: psutil.Process, draw: random.Random) -> str | None:
    """SIGKILL to DVC, to the launcher or to the stage, drawn; the name of the victim, None when all is over."""
    with contextlib.suppress(psutil.NoSuchProcess):
        family = [dvc, *dvc.children(recursive=True)]
        victim = draw.choice(family)
        command = " ".join(victim.cmdline()[1:3])
        os.kill(victim.pid, signal.SIGKILL)
        return command
    return None


@pytest.mark.slow
def test_ten_kills_change_nothing(uninterrupted: Clone, tmp_path: Path) -> None:
    """Weights are bit-equal, MLflow shows one run without doubled points, the registry one version."""
    reference = uninterrupted
    clone = Clone(tmp_path / "clone")
    clone.set_params(LONGER)
    clone.run("dvc", "repro", "preprocess")
    draw = random.Random(2026)
    log = tmp_path / "log.txt"
    for _ in range(KILLS):
        before = _epochs(log)
        process = clone.start(*COMMAND, log=log)
        if draw.random() < 0.4:
            time.sleep(draw.uniform(1.0, 5.0))  # while everything starts
        else:
            _wait_until(lambda done=before: _epochs(log) > done, process)
            time.sleep(draw.uniform(0.0, 1.5))  # while it trains, writes or logs
        assert process.poll() is None, f"the training ended before its ten kills:\n{log.read_text()}"
        assert _kill_one(psutil.Process(process.pid), draw) is not None
        process.wait(60)
    clone.run(*COMMAND)

    _assert_same_weights(reference, clone)
    (run,) = clone.training_runs()
    assert run.info.status == "FINISHED"
    assert clone.doubled_points(run) == []
    steps = [point.step for point in clone.client().get_metric_history(run.info.run_id, "loss")]
    assert sorted(steps) == sorted(set(steps))
    assert len(clone.client().search_model_versions("name='capillary-dice_ce'")) == 1
    curve = Path("metrics/training/dice_ce/fold_0.csv")
    assert (clone.root / curve).read_text() == (reference.root / curve).read_text()


def _weights(clone: Clone) -> dict[str, torch.Tensor]:
    card = clone.card()
    mlflow.set_tracking_uri(f"sqlite:///{clone.root / 'mlruns' / 'mlflow.db'}")
    model = mlflow.pytorch.load_model(f"models:/{card['model_name']}/{card['model_version']}")
    state: dict[str, torch.Tensor] = model.state_dict()
    return state


def _assert_same_weights(reference: Clone, clone: Clone) -> None:
    assert clone.card()["weights_sha256"] == reference.card()["weights_sha256"]
    expected, got = _weights(reference), _weights(clone)
    assert expected.keys() == got.keys()
    for name, value in expected.items():
        assert torch.equal(value, got[name]), name
