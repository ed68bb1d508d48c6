"""The sections of gpu.py: each measures one thing on the device at hand, and is a JSON object."""

import json
import os
import signal
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from monai.inferers.utils import sliding_window_inference

from benchmarks.training import DEVICE, seconds
from stages.common.inference import predict_probability
from stages.common.layout import lay_out_for_prediction
from stages.common.networks.catalogue import build_network
from stages.train.cell import plan_cell
from stages.train.computing.microbatch import largest_micro_batch, try_step
from stages.train.computing.precision import decide_precision
from stages.train.computing.probe import first_patches, seconds_of
from stages.train.computing.switches import Variant
from stages.train.losses import build_loss
from stages.train.params import TrainingParams
from stages.train.sampling.loading import Batch, PatchDataset, first_batch
from tests.support.orders import write_order

REPOSITORY = Path(__file__).resolve().parent.parent
LEFT_OUT = "left out"  # the key of a section's reason not to measure
STACK_ZYX = (110, 512, 512)
LARGEST_BATCH = 64  # patches that the search for a micro-batch begins with
CELL = ("--loss", "dice_ce", "--fold", "0")
SMALL: dict[str, Any] = {
    "filters": [2, 4, 4],
    "patch_voxels": [4, 16, 16],
    "max_epochs": 3,
    "steps_per_epoch": 4,
    "validation_interval": 3,
    "warmup_epochs": 1,
}
FEW_EPOCHS: dict[str, Any] = {"max_epochs": 4, "validation_interval": 4, "warmup_epochs": 1}


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What a section works with: data/processed is in `folder`."""

    folder: Path
    params: TrainingParams
    stack_zyx: tuple[int, int, int]
    largest_batch: int


def make_setting(folder: Path, *, small: bool) -> Setting:
    """The shipped params, or little of everything."""
    shipped = yaml.safe_load((REPOSITORY / "params.yaml").read_text())["training"]
    values = {key: value for key, value in shipped.items() if key in TrainingParams.model_fields}
    params = TrainingParams.model_validate(values | (SMALL if small else {}), strict=False)
    stack_zyx = (6, 24, 24) if small else STACK_ZYX
    return Setting(folder=folder, params=params, stack_zyx=stack_zyx, largest_batch=4 if small else LARGEST_BATCH)


def machine(_: Setting) -> dict[str, Any]:
    """What computes here."""
    found: dict[str, Any] = {"torch": torch.__version__, "cuda": torch.version.cuda, "cores": os.cpu_count()}
    if DEVICE.type != "cuda":
        return {**found, "gpus": []}
    import pynvml

    pynvml.nvmlInit()
    gpus = [torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count())]
    named = [{"name": gpu.name, "memory_gb": round(gpu.total_memory / 1e9, 1)} for gpu in gpus]
    return {**found, "gpus": named, "driver": str(pynvml.nvmlSystemGetDriverVersion())}


def probe(setting: Setting) -> dict[str, Any]:
    """Milliseconds of forward and backward in each variant (null: wrong gradients, or it does not run), and what fits.

    Every variant is timed, also those that the train stage would not try.
    """
    network, batch, loss = _network(setting, heads=True), _batch(setting), build_loss("dice_ce")
    size = largest_micro_batch(lambda count: try_step(network, batch, loss, None, count), setting.largest_batch)
    sample = first_patches(batch, min(size, setting.params.batch_size))
    decision = decide_precision(setting.params.precision, network, sample, loss, DEVICE)
    variants = [Variant(half=half, channels_last=last) for half in (False, True) for last in (False, True)]
    if DEVICE.type == "cuda":  # on a CPU the compiler takes minutes, and no training has it there
        variants += [Variant(half=True, compiled=True), Variant(half=True, channels_last=True, compiled=True)]
    timed = {each.describe(): _ms(seconds_of(network, sample, loss, decision, each)) for each in variants}
    return {"decision": f"{decision.name}: {decision.reason}", "step_ms": timed, "patches_that_fit": size}


def _network(setting: Setting, *, heads: bool) -> torch.nn.Module:
    params = setting.params
    cell = plan_cell(setting.folder / "data" / "processed", params, "dice_ce", 0)
    built = build_network(cell.plan, params.seed, architecture=params.architecture, deep_supervision=heads)
    return built.to(DEVICE)


def _batch(setting: Setting) -> Batch:
    params = setting.params.model_copy(update={"batch_size": setting.largest_batch})
    cell = plan_cell(setting.folder / "data" / "processed", params, "dice_ce", 0)
    return first_batch(PatchDataset(cell.training, params, needs_skeleton=False), params).to(DEVICE)


def _ms(value_s: float | None) -> float | None:
    return None if value_s is None else round(1000 * value_s, 2)


def training(setting: Setting) -> dict[str, Any]:
    """training.py's report of the same params."""
    params = setting.params
    epochs = str(min(params.max_epochs, 4))
    changed = {"steps_per_epoch": params.steps_per_epoch, "validation_interval": 2, "warmup_epochs": 1}
    sets = [word for key, value in changed.items() for word in ("--set", f"{key}={value}")]
    patch, filters = map(str, params.patch_voxels), map(str, params.filters)
    words = ["--epochs", epochs, "--patch", *patch, "--filters", *filters, *sets, "--json"]
    done = _run([sys.executable, str(REPOSITORY / "benchmarks" / "training.py"), *words], setting.folder)
    report: dict[str, Any] = json.loads(done.splitlines()[-1])
    return report


def predict(setting: Setting) -> dict[str, Any]:
    """Seconds of a whole stack: ours in the arithmetic of a training here, MONAI's in float32 and in that one."""
    params, network = setting.params, _network(setting, heads=False).eval()
    sample = first_patches(_batch(setting), 1)
    decision = decide_precision(params.precision, network, sample, build_loss("dice_ce"), DEVICE)
    half = decision.autocast_dtype
    image = np.random.default_rng(0).normal(0.3, 0.1, setting.stack_zyx).astype(np.float32)

    def plain(dtype: torch.dtype | None) -> None:
        whole = torch.from_numpy(image)[None, None].to(DEVICE)
        with torch.inference_mode(), torch.autocast(DEVICE.type, dtype, enabled=dtype is not None):
            sliding_window_inference(whole, params.patch_voxels, 4, network, overlap=0.5, mode="gaussian")

    times = {"monai fp32": _second_of_two(lambda: plain(None))}
    if half is not None:
        times[f"monai {decision.name}"] = _second_of_two(lambda: plain(half))
    lay_out_for_prediction(network, half)
    ours_s = _second_of_two(lambda: predict_probability(network, image, params.patch_voxels, 0.5, autocast_dtype=half))
    ratios = {name: round(value / ours_s, 2) for name, value in times.items()}
    return {"stack_zyx": setting.stack_zyx, "seconds": {**times, "ours": ours_s}, "ratios": ratios}


def _second_of_two(work: Callable[[], object]) -> float:
    """Without what the first call sets up."""
    work()
    return round(seconds(work), 3)


def processes(setting: Setting) -> dict[str, Any]:
    """Seconds an epoch of one training on one process and on as many as there are GPUs (two without any)."""
    count = torch.cuda.device_count() if DEVICE.type == "cuda" else 2
    if count < 2:
        return {LEFT_OUT: "one GPU: nothing to share a batch with"}
    batch = {"batch_size": max(count, setting.params.batch_size), **FEW_EPOCHS}
    epoch_s = {}
    for number in (1, count):
        folder = _working_folder(setting, f"processes-{number}", batch)
        _run(_stage(), folder, processes=number)
        epoch_s[str(number)] = _epoch_s(folder)
    return {"epoch_s": epoch_s, "ratio": round(epoch_s["1"] / epoch_s[str(count)], 2)}


def resume(setting: Setting) -> dict[str, Any]:
    """Whether a training that was asked to stop after an epoch ends as one that was not; on a GPU it need not."""
    whole, stopped = (_working_folder(setting, name, FEW_EPOCHS) for name in ("whole", "stopped"))
    _run(_stage(), whole)
    with subprocess.Popen(_stage(), cwd=stopped, env=_environment(stopped), stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        for line in first.stdout:
            if line.startswith("epoch 2/"):
                first.send_signal(signal.SIGTERM)
    code = first.returncode
    _run(_stage(), stopped)
    cards = [json.loads((folder / "models" / "dice_ce" / "fold_0.json").read_text()) for folder in (whole, stopped)]
    return {
        "exit_code_of_the_stop": code,
        "same_weights": cards[0]["weights_sha256"] == cards[1]["weights_sha256"],
        "validation_dsc": [round(card["validation_dsc"], 4) for card in cards],
    }


def _working_folder(setting: Setting, name: str, changes: dict[str, Any]) -> Path:
    folder = setting.folder / name
    for out in ("data", "models/dice_ce", "metrics/training/dice_ce"):
        (folder / out).mkdir(parents=True)
    (folder / "data" / "processed").symlink_to(setting.folder / "data" / "processed")
    params = {**setting.params.model_dump(mode="json"), **changes}
    (folder / "params.yaml").write_text(yaml.safe_dump({"training": params}))
    return folder


def _stage() -> list[str]:
    return [sys.executable, "-u", "-m", "stages.train", *CELL]


def _environment(folder: Path, **order: Any) -> dict[str, str]:
    cores = os.cpu_count() or 1
    write_order(folder, stage="train", state_dir=folder / "state", workers=min(8, cores), threads=cores, **order)
    return {**os.environ, "PYTHONPATH": str(REPOSITORY), "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlruns/mlflow.db"}


def _run(argv: Sequence[str], folder: Path, **order: Any) -> str:
    environment = _environment(folder, **order)
    done = subprocess.run(argv, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout


def _epoch_s(folder: Path) -> float:
    """The median of a training's epochs, as its MLflow store has them."""
    from mlflow import MlflowClient  # here: most sections need none

    client = MlflowClient(f"sqlite:///{folder}/mlruns/mlflow.db")
    (run,) = client.search_runs([one.experiment_id for one in client.search_experiments()])
    return round(statistics.median(point.value for point in client.get_metric_history(run.info.run_id, "seconds")), 3)


SECTIONS: dict[str, Callable[[Setting], dict[str, Any]]] = {
    section.__name__: section for section in (machine, probe, training, predict, processes, resume)
}
