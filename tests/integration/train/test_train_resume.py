import random
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest

from stages.common.tracking.cards.card import read_card
from tests.integration.train.train_sandbox import Sandbox, make_sandbox
from tests.support.chaos import rounds

KILLS = rounds(1, by_hand=4)  # at random moments
EPOCHS = rounds(16, by_hand=30)
CHANGES: dict[str, object] = {
    "max_epochs": EPOCHS,
    "steps_per_epoch": 5,
    "validation_interval": 4,
    "precision": "auto",
}


def _card(sandbox: Sandbox) -> Path:
    return sandbox.folder / "models/dice_ce/fold_0.json"


def _outs(sandbox: Sandbox) -> tuple[str, bytes]:
    card = read_card(_card(sandbox))
    return card.weights_sha256, (sandbox.folder / "metrics/training/dice_ce/fold_0.csv").read_bytes()


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Sandbox:
    """A training that nobody disturbed."""
    sandbox = make_sandbox(tmp_path_factory.mktemp("uninterrupted"), **CHANGES)
    result = sandbox.run()
    assert result.returncode == 0, result.stdout + result.stderr
    return sandbox


def _kill_after(process: "subprocess.Popen[str]", prefix: str, delay_s: float, number: signal.Signals) -> str:
    """Send `number` once a line with `prefix` was seen and `delay_s` went by; everything that was printed."""
    assert process.stdout is not None
    seen = []
    for line in process.stdout:
        seen.append(line)
        if line.startswith(prefix):
            time.sleep(delay_s)
            process.send_signal(number)
            break
    rest = process.stdout.read()
    process.stdout.close()
    process.wait()
    return "".join(seen) + rest


def _assert_same_as(uninterrupted: Sandbox, killed: Sandbox) -> None:
    assert _outs(killed) == _outs(uninterrupted)
    (run,) = killed.runs()
    assert run.info.status == "FINISHED"
    client = killed.client()
    points = Counter(
        (key, point.step) for key in run.data.metrics for point in client.get_metric_history(run.info.run_id, key)
    )
    assert max(points.values()) == 1
    assert {step for key, step in points if key == "loss"} == set(range(1, EPOCHS + 1))
    assert len(client.search_model_versions("name = 'capillary-dice_ce'")) == 1


def test_a_signal_and_kills_at_random_moments_change_no_bit_and_double_no_point(
    uninterrupted: Sandbox, tmp_path: Path
) -> None:
    """kill -9 before the first checkpoint, SIGTERM, kill -9 at random moments and while it registers; then to the end.

    At SIGTERM the user reads where it stopped, and that the same command resumes.
    """
    disturbed = make_sandbox(tmp_path, **CHANGES)
    _kill_after(disturbed.start(), "precision", 0, signal.SIGKILL)
    process = disturbed.start()
    output = _kill_after(process, "epoch 3/", 0.05, signal.SIGTERM)
    assert process.returncode == 143, output
    assert "stopped by SIGTERM after epoch" in output
    assert "rerun the same command" in output
    assert "Traceback" not in output
    (run,) = disturbed.runs()
    assert run.info.status == "KILLED"
    assert "capillary.failure" not in run.data.tags

    rng = random.Random(time.time_ns())
    delays = [("epoch", rng.uniform(0, 0.6)) for _ in range(KILLS)] + [(f"epoch {EPOCHS}/{EPOCHS}", rng.uniform(0, 1))]
    for prefix, delay_s in delays:
        output = _kill_after(disturbed.start(), prefix, delay_s, signal.SIGKILL)
        assert "resuming after epoch" in output
        if _card(disturbed).exists():
            break
    result = disturbed.run()
    assert result.returncode == 0, f"{delays}\n{result.stdout}{result.stderr}"
    _assert_same_as(uninterrupted, disturbed)
