"""What each loss costs: a whole training step (forward, loss, backward, clipping, AdamW) under it, relative to dice_ce.

    python benchmarks/losses.py [--rounds N] [--warm-up STEPS] [--patch Z Y X] [--filters F …] [--json]

The default network of params.yaml trains on the phantom stacks under dice_ce first, so that there are predictions to
skeletonise and to warp; then every loss continues from there, on equal batches, turn by turn. A ratio is the median of
the ratios within a round. `loss alone` is the value and its gradient for the logits of the step.
"""

import argparse
import contextlib
import copy
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

from stages.common.networks.supervision import heads_of
from stages.train.computing.precision import describe_machine
from stages.train.loop.state import TrainingState
from stages.train.loop.step import take_step
from stages.train.losses import LOSSES, Loss, build_loss
from stages.train.params import TrainingParams
from stages.train.part import start_or_resume
from stages.train.sampling.loading import Batch, batches
from tests.integration.train.phantom_training import plan_training, prepare_phantom, shipped_params

REFERENCE = "dice_ce"
TARGETS = {"cldice": 1.25, "dice_ce_cldice": 1.25, "cbdice": 1.3, "skeleton_recall": 1.05, "warp": 2.0}
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def params_from(arguments: argparse.Namespace) -> TrainingParams:
    """The shipped ones but for the patch and the filters."""
    changes = {"patch_voxels": arguments.patch, "filters": arguments.filters}
    return shipped_params(**{key: value for key, value in changes.items() if value})


def warmed_up(processed: Path, params: TrainingParams, steps: int) -> tuple[TrainingState, Iterator[Batch]]:
    """A training after some steps under the reference loss, and the batches that follow."""
    part = plan_training(processed, processed.parent, params, REFERENCE, DEVICE)
    with contextlib.redirect_stdout(sys.stderr):
        state = start_or_resume(part, lambda: None)
    state.network.train()
    following = batches(part.dataset, params, 0, workers=0)
    for _ in range(steps):
        take_step(state, next(following).to(DEVICE), part.loss, params.learning_rate, params.grad_clip_norm)
    return state, following


def branch(state: TrainingState, params: TrainingParams) -> TrainingState:
    """The same training with its own network."""
    network = copy.deepcopy(state.network)
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=params.weight_decay)
    scaler = torch.amp.GradScaler(DEVICE.type, enabled=state.precision.name == "fp16")
    return TrainingState(
        network=network, optimizer=optimizer, scaler=scaler, precision=state.precision, switches=state.switches
    )


def seconds(work: Callable[[], object]) -> float:
    """Time of one call, the device's work included."""
    started = time.perf_counter()
    work()
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def loss_alone(state: TrainingState, loss: Loss, batch: Batch) -> float:
    """Seconds for the value and its gradient for the logits."""
    with torch.no_grad():
        logits = heads_of(state.network(batch.image))[0]
    logits.requires_grad_()
    return seconds(lambda: loss(logits, batch.label, batch.skeleton).backward())


def measure(
    state: TrainingState, following: Iterator[Batch], params: TrainingParams, rounds: int
) -> dict[str, dict[str, float | None]]:
    """Median milliseconds of a step and of the loss alone, and the ratio of steps, for every loss."""
    trainings = {name: (build_loss(name), branch(state, params)) for name in LOSSES}
    steps: dict[str, list[float]] = {name: [] for name in LOSSES}
    alone: dict[str, list[float]] = {name: [] for name in LOSSES}
    for number in range(rounds + 1):
        batch = next(following).to(DEVICE)
        turn = number % len(LOSSES)  # no loss always comes first
        for name in [*LOSSES][turn:] + [*LOSSES][:turn]:
            loss, training = trainings[name]
            rate = params.learning_rate / 4  # predictions stay comparable
            step_s = seconds(lambda: take_step(training, batch, loss, rate, params.grad_clip_norm))  # noqa: B023
            loss_s = loss_alone(training, loss, batch)
            if number:  # the first round fills caches
                steps[name].append(step_s)
                alone[name].append(loss_s)
    return {
        name: {
            "step_ms": round(1000 * statistics.median(steps[name]), 1),
            "loss_ms": round(1000 * statistics.median(alone[name]), 1),
            "ratio": round(statistics.median(a / b for a, b in zip(steps[name], steps[REFERENCE], strict=True)), 3),
            "target": TARGETS.get(name),
        }
        for name in LOSSES
    }


def print_table(report: dict[str, Any]) -> None:
    """For people."""
    print(
        f"{report['machine']}, {report['threads']} threads, {report['precision']}, {report['rounds']} rounds, medians"
    )
    print(f"network {report['network']}, batch {report['batch_size']}")
    print(f"{'loss':<18}{'step':>10}{'ratio':>8}{'target':>8}{'loss alone':>13}")
    for name, row in report["losses"].items():
        target = "" if row["target"] is None else f"≤ {row['target']}"
        print(f"{name:<18}{row['step_ms']:>7} ms{row['ratio']:>8}{target:>8}{row['loss_ms']:>10} ms")


def main() -> None:
    """Measure every loss of the catalogue."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--warm-up", type=int, default=60, help="steps under dice_ce before anything is measured")
    parser.add_argument("--patch", type=int, nargs=3, metavar=("Z", "Y", "X"), help="training.patch_voxels")
    parser.add_argument("--filters", type=int, nargs="+", help="training.filters")
    parser.add_argument("--json", action="store_true", help="for machines")
    arguments = parser.parse_args()
    params = params_from(arguments)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)))
    with tempfile.TemporaryDirectory() as folder:
        state, following = warmed_up(prepare_phantom(Path(folder)), params, arguments.warm_up)
        losses = measure(state, following, params, arguments.rounds)
    report = {
        "machine": describe_machine(DEVICE),
        "threads": torch.get_num_threads(),
        "precision": state.precision.name,
        "rounds": arguments.rounds,
        "network": f"{list(params.filters)} on {list(params.patch_voxels)}",
        "batch_size": params.batch_size,
        "losses": losses,
    }
    if arguments.json:
        print(json.dumps(report))
    else:
        print_table(report)


if __name__ == "__main__":
    main()
