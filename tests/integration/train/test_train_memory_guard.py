"""The memory guard in a real training whose memory really grows."""

import subprocess
import time
from pathlib import Path

from stages.common.epoch_line import parse_epoch
from stages.common.tracking.cards.card import read_card
from tests.integration.train.train_sandbox import Sandbox, make_sandbox
from tests.support.warm import warm_python

LIMIT_GB = 1.6
STEPS = 90
# epochs long enough that the guard cannot but fire in the middle of one
CHANGES: dict[str, object] = {"max_epochs": 3, "steps_per_epoch": STEPS, "validation_interval": 3}
# the train stage, next to a thread that takes 120 MB every 20 ms from the second epoch on, and notes when psutil sees
# the process over the limit
GROWING = f"""
import sys, threading, time
from pathlib import Path
import psutil

def grow():
    while not Path("grow").exists():
        time.sleep(0.01)
    blocks, own = [], psutil.Process()
    while own.memory_info().rss <= {LIMIT_GB} * 1e9:
        blocks.append(bytearray(120_000_000))
        time.sleep(0.02)
    Path("crossed").write_text(str(time.time()))
    time.sleep(600)

threading.Thread(target=grow, daemon=True).start()
from stages.common.program.ending import run_main
from stages.train.__main__ import main
sys.argv[0] = "stages.train"
run_main(main)
"""


def _outs(sandbox: Sandbox) -> tuple[str, bytes]:
    card = read_card(sandbox.folder / "models/dice_ce/fold_0.json")
    return card.weights_sha256, (sandbox.folder / "metrics/training/dice_ce/fold_0.csv").read_bytes()


def _train_growing(sandbox: Sandbox) -> tuple[int, list[tuple[float, str]]]:
    """Exit code, and the lines that were printed with the time at which each came."""
    process = subprocess.Popen(
        [warm_python(), "-c", GROWING, "--loss", "dice_ce", "--fold", "0"],
        cwd=sandbox.folder,
        env=sandbox.environment(memory_abort_gb=LIMIT_GB),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    lines = []
    for text in process.stdout:
        lines.append((time.time(), text.rstrip()))
        if (epoch := parse_epoch(text)) is not None and epoch.epoch == 1:
            (sandbox.folder / "grow").touch()
    process.stdout.close()
    return process.wait(), lines


def test_a_growing_training_is_stopped_in_mid_epoch_and_ends_as_an_undisturbed_one(tmp_path: Path) -> None:
    """Asked within a second of the crossing, with a checkpoint, its own exit code and the numbers; then resumed."""
    undisturbed = make_sandbox(tmp_path / "undisturbed", **CHANGES)
    assert undisturbed.run().returncode == 0

    grown = make_sandbox(tmp_path / "grown", **CHANGES)
    code, lines = _train_growing(grown)
    output = "\n".join(text for _, text in lines)
    assert code == 8, output
    crossed = float((grown.folder / "crossed").read_text())
    asked = next(when for when, text in lines if text.startswith("warning: memory guard: "))
    assert asked - crossed <= 1, output
    assert "Traceback" not in output
    assert f"GB resident, the limit is {LIMIT_GB:g} GB" in output
    assert "the checkpoint is written" in output
    state = grown.checkpoint()["state"]
    assert state["epoch"] >= 1
    assert 0 < state["tally"]["steps_done"] < STEPS, "it was stopped in mid-epoch"

    result = grown.run()
    assert result.returncode == 0, result.stdout + result.stderr
    assert f"resuming after epoch {state['epoch']}, step {state['tally']['steps_done']}" in result.stdout
    assert _outs(grown) == _outs(undisturbed)
    (run,) = grown.runs()
    assert run.info.status == "FINISHED"
    artifacts = grown.client().list_artifacts(run.info.run_id, "system")
    assert [artifact.path for artifact in artifacts] == ["system/system.csv"]
