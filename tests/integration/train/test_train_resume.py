import random
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest

from stages.common.tracking.cards.card import read_card
from tests.integration.train.train_sandbox import Sandbox, make_sandbox

CHANGES: dict[str, object] = {"max_epochs": 30, "steps_per_epoch": 5, "validation_interval": 4, "precision": "auto"}


def _outs(sandbox: Sandbox) -> tuple[str, bytes]:
    card = read_card(sandbox.folder / "models/dice_ce/fold_0.json")
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
    assert {step for key, step in points if key == "loss"} == set(range(1, 31))
    assert len(client.search_model_versions("name = 'capillary-dice_ce'")) == 1


def test_kills_at_random_moments_change_no_bit_and_double_no_point(uninterrupted: Sandbox, tmp_path: Path) -> None:
    """kill -9 before the first checkpoint, at random moments and while it registers; then on to the end."""
    killed = make_sandbox(tmp_path, **CHANGES)
    rng = random.Random(time.time_ns())
    delays = [
        ("precision", 0.0),
        *[("epoch", rng.uniform(0, 0.6)) for _ in range(4)],
        ("epoch 30/30", rng.uniform(0, 1)),
    ]
    for prefix, delay_s in delays:
        _kill_after(killed.start(), prefix, delay_s, signal.SIGKILL)
        if (killed.folder / "models/dice_ce/fold_0.json").exists():
            break
    result = killed.run()
    assert result.returncode == 0, f"{delays}\n{result.stdout}{result.stderr}"
    _assert_same_as(uninterrupted, killed)


def test_a_signal_stops_after_the_step_with_a_checkpoint_and_its_exit_code(
    uninterrupted: Sandbox, tmp_path: Path
) -> None:
    """The user reads where it stopped, and that the same command resumes; it does, to the same bits."""
    stopped = make_sandbox(tmp_path, **CHANGES)
    process = stopped.start()
    output = _kill_after(process, "epoch 3/", 0.05, signal.SIGTERM)
    assert process.returncode == 143, output
    assert "stopped by SIGTERM after epoch" in output
    assert "rerun the same command" in output
    assert "Traceback" not in output
    (run,) = stopped.runs()
    assert run.info.status == "KILLED"
    assert "capillary.failure" not in run.data.tags
    result = stopped.run()
    assert "resuming after epoch" in result.stdout
    _assert_same_as(uninterrupted, stopped)
