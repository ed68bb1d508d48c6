"""What tracking costs an epoch: the same work with and without a run, with a store that answers and with none.

    python benchmarks/tracking.py [--epochs N] [--json]

An epoch is a fixed number of convolutions. Rounds of the three ways alternate, so that other load hits them alike.
The target is 2 % of the untracked epoch. Works in a temporary folder.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from stages.common.tracking.runs import TrackedRun, open_run
from tests.support.tracking.tracked import embedded_runtime

TARGET_PERCENT = 2.0
DEAD = "http://127.0.0.1:9"  # nobody listens
POINTS = ("loss", "learning_rate", "gradient_norm", "nonfinite_steps", "validation_dsc", "seconds")


def work(steps: int) -> None:
    """An epoch's worth of arithmetic."""
    layer, batch = torch.nn.Conv3d(8, 8, 3, padding=1), torch.ones(1, 8, 8, 48, 48)
    for _ in range(steps):
        layer(batch).sum().backward()


def epoch_s(run: TrackedRun | None, number: int, steps: int) -> float:
    """Wall time of epoch `number`, with its points where there is a run."""
    started = time.perf_counter()
    work(steps)
    if run is not None:
        run.log_metrics(dict.fromkeys(POINTS, float(number)), number)
    return time.perf_counter() - started


def measure(epochs: int, steps: int) -> dict[str, float]:
    """Median seconds of an epoch, by way."""
    with tempfile.TemporaryDirectory() as folder:
        stored = embedded_runtime(Path(folder) / "stored", fingerprint="stored")
        dead = replace(embedded_runtime(Path(folder) / "dead", fingerprint="dead"), tracking_uri=DEAD)
        ways: dict[str, TrackedRun | None] = {"untracked": None}
        for name, runtime in (("embedded store", stored), ("dead server", dead)):
            ways[name] = open_run(runtime, cell_tags={}, run_name=name)
        taken: dict[str, list[float]] = {name: [] for name in ways}
        for number in range(epochs):
            for name, run in ways.items():
                taken[name].append(epoch_s(run, number, steps))
        for run in ways.values():
            if run is not None:
                run.fail("the benchmark is over")
    return {name: statistics.median(seconds) for name, seconds in taken.items()}


def main() -> None:
    """Measure and say; exit code 1 over the target."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    median_s = measure(given.epochs, given.steps)
    over = {name: 100 * (value / median_s["untracked"] - 1) for name, value in median_s.items()}
    if given.json:
        sys.stdout.write(json.dumps({"median_s": median_s, "over_percent": over}) + "\n")
    else:
        for name, value in median_s.items():
            sys.stdout.write(f"{name:15} {value:.3f} s an epoch ({over[name]:+.1f} %)\n")
    sys.exit(max(over.values()) > TARGET_PERCENT)


if __name__ == "__main__":
    main()
