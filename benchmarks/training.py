"""Training against the loop of MONAI's tutorials: a step, an epoch, what loading and validation cost, the DSC reached.

    python benchmarks/training.py [--data FOLDER] [--epochs N] [--patch Z Y X] [--filters F …]
                                  [--set KEY=VALUE …] [--json]

Both train the same DynUNet from the same weights on the same volumes with the same batch, for the same number of steps
at the same learning rates, epoch about epoch: plain_monai.py in float32, and the train stage as it ships. An epoch is
its steps, its validation where it has one (both after every `validation_interval` epochs) and, of ours, its checkpoint.
Next to them run the same step on one batch that stays (no loading), and in float32. FOLDER is a source as ingest takes
it.
"""

import argparse
import contextlib
import copy
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch
import yaml

from benchmarks.plain_monai import set_up
from stages.common.imaging.volumes import Volume
from stages.common.inference import predict_probability
from stages.common.layout import lay_out_plainly
from stages.common.networks.supervision import plain
from stages.common.runtime import Compute
from stages.train.cell import Cell, plan_cell
from stages.train.computing.precision import describe_machine
from stages.train.distributed.ranks import ALONE
from stages.train.loop.schedule import plan_schedule
from stages.train.loop.state import TrainingState
from stages.train.loop.step import take_step
from stages.train.loop.validate import plan_tiles, validation_dsc
from stages.train.losses import build_loss
from stages.train.params import TrainingParams
from stages.train.part import RankSetup, start_or_resume
from stages.train.resuming.background import BackgroundCheckpoints
from stages.train.resuming.checkpoint import Checkpoints
from stages.train.resuming.interrupt import Interrupt
from stages.train.sampling.loading import Batch, PatchDataset, batches, first_batch
from tests.support.tracking.tracked import embedded_runtime

REPOSITORY = Path(__file__).resolve().parent.parent
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
WORKERS = min(8, os.cpu_count() or 1) if DEVICE.type == "cuda" else 0
BASELINE_STEPS = 8  # steps an epoch without loading, and in float32: enough for a median
TARGETS = {"step": "≥ 2.2", "epoch": "≥ 2.2", "loading": "≤ 1.05", "validation share": "≤ 0.1", "DSC": "within 0.01"}


@dataclass(kw_only=True)
class Times:
    """Seconds of each step of each way, and of whole epochs."""

    steps: dict[str, list[float]] = field(default_factory=lambda: {"plain": [], "ours": [], "dummy": [], "fp32": []})
    epochs: dict[str, list[float]] = field(default_factory=lambda: {"plain": [], "ours": []})
    validation_s: list[float] = field(default_factory=list)


class Busy:
    """Share of the time in which the GPU computed, as NVML samples it while the block runs; None without a GPU."""

    def __init__(self) -> None:
        self.samples: list[int] = []
        self._done = threading.Event()

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Sample ten times a second."""
        if DEVICE.type != "cuda":
            yield
            return
        self._done.clear()
        thread = threading.Thread(target=self._sample, daemon=True)
        thread.start()
        yield
        self._done.set()
        thread.join()

    def _sample(self) -> None:
        import pynvml

        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByIndex(0)
        while not self._done.wait(0.1):
            self.samples.append(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu)

    @property
    def share(self) -> float | None:
        """Mean of the samples."""
        return round(statistics.mean(self.samples) / 100, 3) if self.samples else None


def params_from(arguments: argparse.Namespace) -> TrainingParams:
    """The shipped ones but for what is asked for."""
    shipped = yaml.safe_load((REPOSITORY / "params.yaml").read_text())["training"]
    values = {key: value for key, value in shipped.items() if key in TrainingParams.model_fields}
    asked = {"patch_voxels": arguments.patch, "filters": arguments.filters, "max_epochs": arguments.epochs}
    asked = {key: value for key, value in asked.items() if value}
    others = {key: yaml.safe_load(value) for key, value in (change.split("=", 1) for change in arguments.set)}
    return TrainingParams.model_validate(values | asked | others, strict=False)


def prepared(folder: Path, source: Path) -> Path:
    """data/processed of `source`, by the real ingest and preprocess."""
    shipped = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
    (folder / "configs" / "splits").mkdir(parents=True)
    (folder / "configs" / "splits" / "generated.json").write_text('{"folds": "generated"}')
    ingest = shipped["ingest"] | {"source": str(source.resolve())}
    for stage, params in (("ingest", {"ingest": ingest}), ("preprocess", {"preprocess": shipped["preprocess"]})):
        (folder / "params.yaml").write_text(yaml.safe_dump(params))
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
        command = [sys.executable, "-m", f"stages.{stage}"]
        subprocess.run(command, cwd=folder, env=environment, check=True, stdout=sys.stderr)
    return folder / "data" / "processed"


def begin(cell: Cell, folder: Path) -> tuple[RankSetup, TrainingState]:
    """The train stage's own beginning: probe, switches, network."""
    loss = build_loss(cell.loss)
    dataset = PatchDataset(cell.training, cell.params, needs_skeleton=loss.needs_skeleton)
    runtime = embedded_runtime(
        folder, artifact_root=None, compute=Compute(compile=DEVICE.type == "cuda"), threads=torch.get_num_threads()
    )
    part = RankSetup(
        cell=cell,
        runtime=runtime,
        loss=loss,
        dataset=dataset,
        batch=first_batch(dataset, cell.params).to(DEVICE),
        interrupt=Interrupt(),
        device=DEVICE,
        ranks=ALONE,
    )
    with contextlib.redirect_stdout(sys.stderr):
        return part, start_or_resume(part, lambda: None)


def plainly(state: TrainingState) -> torch.nn.Module:
    """A copy of the network as MONAI builds it: without heads, laid out as torch does."""
    network = copy.deepcopy(plain(state.network))
    lay_out_plainly(network)
    return network


def branch(state: TrainingState, *, in_fp32: bool) -> TrainingState:
    """The same training with its own weights."""
    network = copy.deepcopy(state.network)
    precision = replace(state.precision, name="fp32") if in_fp32 else state.precision
    return TrainingState(
        network=network,
        optimizer=torch.optim.AdamW(network.parameters()),
        scaler=torch.amp.GradScaler(DEVICE.type, enabled=precision.name == "fp16"),
        precision=precision,
        switches=state.switches,
    )


def seconds(work: Callable[[], object]) -> float:
    """Time of one call, the device's work included."""
    started = time.perf_counter()
    work()
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def train_both(part: RankSetup, state: TrainingState, times: Times, busy: Busy) -> torch.nn.Module:
    """Fill `times`; returns the plain loop's network."""
    params, schedule, loss = part.cell.params, plan_schedule(part.cell.params), part.loss
    loop = set_up(plainly(state), part.cell.training, part.cell.validation, params, DEVICE)
    baselines = {"dummy": branch(state, in_fp32=False), "fp32": branch(state, in_fp32=True)}
    tiles = plan_tiles([volume.shape_zyx for volume in part.cell.validation], params)
    following = batches(part.dataset, params, 0, WORKERS, pin_memory=DEVICE.type == "cuda")

    def step(training: TrainingState, batch: Batch, rate: float) -> None:
        training.network.train()
        take_step(training, batch.to(DEVICE), loss, rate, params.grad_clip_norm)

    with BackgroundCheckpoints(Checkpoints(part.runtime.state_dir, {})) as checkpoints:
        for epoch in range(params.max_epochs):
            rates = [schedule.learning_rate(epoch * params.steps_per_epoch + n) for n in range(params.steps_per_epoch)]
            plain_batches = loop.epoch()
            plain_s = [seconds(lambda: loop.step(next(plain_batches), rate)) for rate in rates]  # noqa: B023
            plain_ending_s = 0.0
            ours_s = []
            for rate in rates[:BASELINE_STEPS]:  # in turns, so that what else the machine does meets all of them
                ours_s.append(seconds(lambda: step(state, next(following), rate)))  # noqa: B023
                for name, training in baselines.items():
                    times.steps[name].append(seconds(lambda: step(training, part.batch, rate)))  # noqa: B023
            with busy.watched():
                ours_s += [seconds(lambda: step(state, next(following), rate)) for rate in rates[BASELINE_STEPS:]]  # noqa: B023
            ending_s = seconds(lambda: checkpoints.save(state.as_dict()))
            if (epoch + 1) % params.validation_interval == 0 or epoch + 1 == params.max_epochs:
                dtype, volumes = state.precision.autocast_dtype, part.cell.validation
                score = lambda: validation_dsc(state.network, volumes, tiles, params, dtype, lambda: None)  # noqa: E731, B023
                times.validation_s.append(seconds(score))
                ending_s += times.validation_s[-1]
                plain_ending_s = seconds(loop.validate)
            times.steps["plain"] += plain_s
            times.steps["ours"] += ours_s
            times.epochs["plain"].append(sum(plain_s) + plain_ending_s)
            times.epochs["ours"].append(sum(ours_s) + ending_s)
    return loop.network


def mean_dsc(network: torch.nn.Module, volumes: list[Volume], params: TrainingParams) -> float:
    """Of whole validation volumes, in float32, for both alike."""
    scores = []
    for volume in volumes:
        predicted = predict_probability(network, volume.image(), params.patch_voxels, 0.25) > 0.5
        true = volume.label() > 0
        scores.append(2 * (predicted & true).sum() / max(1, predicted.sum() + true.sum()))
    return float(np.mean(scores))


def report_of(
    part: RankSetup, state: TrainingState, times: Times, busy: Busy, other: torch.nn.Module
) -> dict[str, Any]:
    """Medians and ratios."""
    params, volumes = part.cell.params, part.cell.validation
    step_s = {name: statistics.median(values[3:]) for name, values in times.steps.items()}
    epoch_s = {name: statistics.mean(values) for name, values in times.epochs.items()}
    images_s = {name: round(params.batch_size / value, 2) for name, value in step_s.items()}
    share = sum(times.validation_s) / (sum(times.validation_s) + sum(times.steps["ours"]))
    ours, reference = mean_dsc(plain(state.network), volumes, params), mean_dsc(other, volumes, params)
    return {
        "machine": describe_machine(DEVICE),
        "threads": torch.get_num_threads(),
        "precision": state.precision.name,
        "network": f"{list(params.filters)} on {list(params.patch_voxels)}, batch {params.batch_size}",
        "steps": params.max_epochs * params.steps_per_epoch,
        "step_s": {name: round(value, 4) for name, value in step_s.items()},
        "epoch_s": {name: round(value, 3) for name, value in epoch_s.items()},
        "images_per_s": images_s,
        "gpu_busy": busy.share,
        "dsc": {"plain": round(reference, 4), "ours": round(ours, 4)},
        "ratios": {
            "step": round(step_s["plain"] / step_s["ours"], 3),
            "epoch": round(epoch_s["plain"] / epoch_s["ours"], 3),
            "loading": round(step_s["ours"] / step_s["dummy"], 3),
            "half type": round(step_s["fp32"] / step_s["dummy"], 3),
            "validation share": round(share, 3),
            "DSC": round(ours - reference, 4),
        },
    }


def print_table(report: dict[str, Any]) -> None:
    """For people."""
    print(
        f"{report['machine']}, {report['threads']} threads, ours in {report['precision']}, {report['steps']} steps each"
    )
    print(f"network {report['network']}")
    print(f"{'':<22}{'plain MONAI':>12}{'ours':>10}{'no loading':>12}{'ours fp32':>11}")
    step, images = report["step_s"], report["images_per_s"]
    print(f"{'step, ms':<22}" + _row(1000 * step[name] for name in ("plain", "ours", "dummy", "fp32")))
    print(f"{'patches per second':<22}" + _row(images[name] for name in ("plain", "ours", "dummy", "fp32")))
    print(f"{'epoch, s':<22}" + _row(report["epoch_s"].values()))
    print(f"{'validation DSC':<22}{report['dsc']['plain']:>12}{report['dsc']['ours']:>10}")
    if report["gpu_busy"] is not None:
        print(f"{'GPU busy':<22}{'':>12}{report['gpu_busy']:>10}")
    for name, ratio in report["ratios"].items():
        print(f"ratio {name:<16}{ratio:>12}   {'target ' + TARGETS[name] if name in TARGETS else ''}")


def _row(values: Iterator[float]) -> str:
    return "".join(f"{value:>{width}.1f}" for value, width in zip(values, (12, 10, 12, 11), strict=False))


def main() -> None:
    """Train both ways and compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=REPOSITORY / "samples" / "phantom", help="a source of stacks")
    parser.add_argument("--epochs", type=int, help="training.max_epochs")
    parser.add_argument("--patch", type=int, nargs=3, metavar=("Z", "Y", "X"), help="training.patch_voxels")
    parser.add_argument("--filters", type=int, nargs="+", help="training.filters")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="any other key of training")
    parser.add_argument("--json", action="store_true", help="for machines")
    arguments = parser.parse_args()
    params = params_from(arguments)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)))
    with tempfile.TemporaryDirectory() as folder:
        cell = plan_cell(prepared(Path(folder), arguments.data), params, "dice_ce", 0)
        part, state = begin(cell, Path(folder, "state"))
        times, busy = Times(), Busy()
        other = train_both(part, state, times, busy)
        report = report_of(part, state, times, busy, other)
    print(json.dumps(report)) if arguments.json else print_table(report)


if __name__ == "__main__":
    main()
