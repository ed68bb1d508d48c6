"""A training that is killed at random moments ends as one that was not."""

import contextlib
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import torch

from stages.common.tracking.cards.card import read_card
from stages.common.tracking.server import connect
from tests.support.chaos import BY_HAND
from tests.support.clone import Clone, prepared_clone
from tests.support.tracking.tracked import embedded_runtime, load

KILLS = 20
LONGER = {"training.steps_per_epoch": "6", "training.validation_interval": "60"}
# two processes continue after a rank was killed, for a few seconds of 0.2 s an epoch
EPOCHS_A_KILL = {1: 12, 2: 24}
COMMAND = ("dvc", "repro", "train@dice_ce-0")


def _prepared(root: Path, processes: int, folders: pytest.TempPathFactory) -> Clone:
    """A clone that is about to train, with an MLflow store that nobody has used."""
    clone = prepared_clone(folders, root)
    clone.set_params(LONGER | {"training.max_epochs": str(EPOCHS_A_KILL[processes] * KILLS)})
    (clone.root / ".env").write_text(f"CAPILLARY_PROCESSES={processes}\nCAPILLARY_THREADS=1\n")
    return clone


def _epochs(log: Path) -> int:
    """Epochs that all attempts together have reported."""
    return sum(line.startswith("epoch ") for line in log.read_text().splitlines()) if log.exists() else 0


def _wait_until(happened: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while not happened() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)


def _kill_one(dvc: psutil.Process, draw: random.Random) -> str | None:
    """SIGKILL to DVC, the launcher, the stage or a rank of it, drawn; the name of the victim, None after the end."""
    while dvc.is_running() and dvc.status() != psutil.STATUS_ZOMBIE:
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):  # it ended while it was looked at
            victim = draw.choice([dvc, *dvc.children(recursive=True)])
            command = " ".join(victim.cmdline()[1:3])
            if "resource_tracker" in " ".join(victim.cmdline()):
                continue  # Python's own helper, which nothing waits for
            os.kill(victim.pid, signal.SIGKILL)
            return command
    return None


def _at_a_random_moment(
    clone: Clone, process: subprocess.Popen[bytes], log: Path, draw: random.Random
) -> subprocess.Popen[bytes]:
    """The command, still running: `process`, or the same command again where that one has ended by a kill."""
    while True:
        before = _epochs(log)
        if process.poll() is not None:
            assert process.returncode != 0, f"the training ended before its last kill:\n{log.read_text()}"
            process = clone.start(*COMMAND, log=log)
        if draw.random() < 0.4:
            time.sleep(draw.uniform(1.0, 5.0))  # while everything starts
        else:
            _wait_until(lambda done=before: _epochs(log) > done, process)
            time.sleep(draw.uniform(0.0, 1.5))  # while it trains, writes or logs
        if process.poll() is None:
            return process


@pytest.mark.slow
@pytest.mark.skipif(not BY_HAND, reason="./just test-chaos: test_experiment.py kills a training, then all of a run")
@pytest.mark.parametrize("processes", [1, 2])
def test_kills_change_nothing(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, processes: int) -> None:
    """Weights are bit-equal, MLflow shows one run without doubled points, the registry one version.

    A killed rank is started again with the others; when that has happened too often, or another victim was drawn, the
    same command is repeated.
    """
    reference = _prepared(tmp_path / "reference", processes, tmp_path_factory)
    reference.run(*COMMAND)
    clone = _prepared(tmp_path / "clone", processes, tmp_path_factory)
    draw = random.Random(2026)
    log = tmp_path / "log.txt"
    process = clone.start(*COMMAND, log=log)
    for _ in range(KILLS):
        process = _at_a_random_moment(clone, process, log, draw)
        assert _kill_one(psutil.Process(process.pid), draw) is not None
        with contextlib.suppress(subprocess.TimeoutExpired):  # a rank's death does not end the command
            process.wait(60 if processes == 1 else 1)
    process.wait(600)
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
    card = read_card(clone.root / "models/dice_ce/fold_0.json")
    state: dict[str, torch.Tensor] = load(card, connect(embedded_runtime(clone.root / "mlruns"))).state_dict()
    return state


def _assert_same_weights(reference: Clone, clone: Clone) -> None:
    assert clone.card()["weights_sha256"] == reference.card()["weights_sha256"]
    expected, got = _weights(reference), _weights(clone)
    assert expected.keys() == got.keys()
    for name, value in expected.items():
        assert torch.equal(value, got[name]), name
