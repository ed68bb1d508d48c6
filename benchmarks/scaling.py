"""How preprocess and inference grow: with the size of a stack, and with the number of volumes.

    python benchmarks/scaling.py [--largest Z Y X] [--volumes N N …] [--json]

Stacks of noise with tubes, from 10×128×128 to 110×512×512 voxels, each through the real preprocess stage and through
the default network's sliding window: stacks a minute, and the peak resident memory of each process next to the bytes of
the stack. Then 6, 300 and 600 small volumes: seconds of preprocess and of a training's beginning for each volume more,
which must not grow.
"""

import argparse
import contextlib
import csv
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import tifffile
import torch
import yaml
from numpy.typing import NDArray

from stages.common.imaging.volumes import read_manifest
from stages.common.inference import predict_probability
from stages.common.layout import lay_out_for_prediction
from stages.common.networks.catalogue import build_network
from stages.train.cell import plan_cell
from stages.train.computing.precision import describe_machine
from stages.train.params import TrainingParams
from stages.train.sampling.loading import PatchDataset, first_batch
from tests.support.orders import write_order
from tests.support.stacks.preprocess_sandbox import Sandbox

REPOSITORY = Path(__file__).resolve().parent.parent
Shape = tuple[int, int, int]
SIZES: tuple[Shape, ...] = ((10, 128, 128), (24, 256, 256), (50, 512, 512), (110, 512, 512))
SMALL: Shape = (8, 48, 48)
OVERLAP = 0.5
INFER_FILE = "infer_s.txt"
FLAT = 1.2  # what the last volumes may cost in terms of the first ones


def params() -> TrainingParams:
    """The shipped ones."""
    shipped = yaml.safe_load((REPOSITORY / "params.yaml").read_text())["training"]
    values = {key: value for key, value in shipped.items() if key in TrainingParams.model_fields}
    return TrainingParams.model_validate(values, strict=False)


def stack(shape: Shape, seed: int) -> tuple[NDArray[np.uint16], NDArray[np.uint8]]:
    """Noise with straight tubes along z, y and x, and their label (255)."""
    rng = np.random.default_rng(seed)
    label = np.zeros(shape, np.uint8)
    for number in range(3 * max(1, shape[1] // 64)):
        axis = number % 3
        place = [int(rng.integers(size)) for size in shape]
        tube = [slice(max(0, start - 2), start + 3) for start in place]
        tube[axis] = slice(None)
        label[tuple(tube)] = 255
    image = rng.normal(200, 40, shape) + 3 * label.astype(float)
    return image.clip(0, 4095).astype(np.uint16), label


def write_source(folder: Path, shapes: list[Shape]) -> Path:
    """A source of stacks as ingest takes it."""
    folder.mkdir(parents=True)
    with (folder / "dataset.csv").open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["id", "image", "label", "spacing_z_um", "spacing_y_um", "spacing_x_um"])
        for number, shape in enumerate(shapes):
            image, label = stack(shape, number)
            tifffile.imwrite(folder / f"{number}_image.tif", image)
            tifffile.imwrite(folder / f"{number}_label.tif", label)
            table.writerow([f"stack_{number:04}", f"{number}_image.tif", f"{number}_label.tif", 2.0, 1.0, 1.0])
    return folder


def run(command: list[str], folder: Path) -> tuple[float, float]:
    """(seconds, peak resident GB of its largest process) of a command that must succeed, its start included."""
    started = time.perf_counter()
    write_order(folder)
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    assert status == 0, command
    unit = 1 if sys.platform == "darwin" else 1024
    return time.perf_counter() - started, used.ru_maxrss * unit / 1e9


def preprocessed(folder: Path, shapes: list[Shape]) -> tuple[Path, float, float]:
    """data/processed of such stacks, with the stage's seconds and peak memory."""
    sandbox = Sandbox(folder / "sandbox")
    sandbox.add_source(write_source(folder / "source", shapes))
    # the fewest volumes that make folds
    sandbox.set(num_folds=2)
    return sandbox.processed, *run([sys.executable, "-m", "stages.preprocess"], sandbox.root)


def infer(processed: Path) -> None:
    """Run in its own process: the first volume through the default network."""
    volume = read_manifest(processed)[0]
    cell = plan_cell(processed, params(), "dice_ce", 0)
    network = build_network(cell.plan, 1, architecture=cell.params.architecture, deep_supervision=False)
    lay_out_for_prediction(network, _half())
    started = time.perf_counter()
    predict_probability(network, volume.image(), cell.params.patch_voxels, OVERLAP, autocast_dtype=_half())
    Path(INFER_FILE).write_text(str(time.perf_counter() - started))


def _half() -> torch.dtype | None:
    able = torch.cpu.get_capabilities()
    return torch.bfloat16 if able.get("avx512_bf16") or able.get("amx_bf16") else None


def by_size(sizes: list[Shape]) -> Iterator[dict[str, Any]]:
    """A row a size. Two volumes are preprocessed, since folds need two; one is predicted."""
    for shape in sizes:
        with tempfile.TemporaryDirectory() as name:
            processed, preprocess_s, preprocess_gb = preprocessed(Path(name), [shape] * 2)
            command = [sys.executable, str(Path(__file__).resolve()), "--infer", str(processed)]
            _, infer_gb = run(command, Path(name))
            infer_s = float(Path(name, INFER_FILE).read_text())
        yield {
            "shape_zyx": shape,
            "stack_gb": round(4 * np.prod(shape) / 1e9, 3),
            "preprocess_per_min": round(120 / preprocess_s, 2),
            "preprocess_peak_gb": round(preprocess_gb, 2),
            "inference_per_min": round(60 / infer_s, 2),
            "inference_peak_gb": round(infer_gb, 2),
        }


def by_number(counts: list[int]) -> list[dict[str, Any]]:
    """A row a number of volumes: all of preprocess, and what a training does before its first step."""
    rows = []
    for count in counts:
        with tempfile.TemporaryDirectory() as name, contextlib.redirect_stdout(sys.stderr):
            processed, preprocess_s, peak_gb = preprocessed(Path(name), [SMALL] * count)
            started = time.perf_counter()
            cell = plan_cell(processed, params(), "dice_ce", 0)
            first_batch(PatchDataset(cell.training, cell.params, needs_skeleton=False), cell.params)
            begin_s = time.perf_counter() - started
        rows.append({"volumes": count, "preprocess_s": preprocess_s, "begin_s": begin_s, "preprocess_peak_gb": peak_gb})
    return rows


def each_more(rows: list[dict[str, Any]], key: str) -> list[float]:
    """Milliseconds that each volume more costs, from one row to the next: starting a process does not count."""
    pairs = itertools.pairwise(rows)
    return [1000 * (more[key] - less[key]) / (more["volumes"] - less["volumes"]) for less, more in pairs]


def print_tables(report: dict[str, Any]) -> None:
    """For people."""
    print(f"{report['machine']}, {report['threads']} threads for inference, 1 process for preprocess")
    print(f"{'stack zyx':<16}{'GB':>7}{'preprocess/min':>16}{'peak GB':>9}{'inference/min':>15}{'peak GB':>9}")
    for row in report["by_size"]:
        shape = "×".join(map(str, row["shape_zyx"]))
        print(
            f"{shape:<16}{row['stack_gb']:>7}{row['preprocess_per_min']:>16}{row['preprocess_peak_gb']:>9}"
            f"{row['inference_per_min']:>15}{row['inference_peak_gb']:>9}"
        )
    print(f"\n{'volumes':<10}{'preprocess s':>14}{'peak GB':>9}{'before step 1, s':>18}")
    for row in report["by_number"]:
        print(
            f"{row['volumes']:<10}{row['preprocess_s']:>14.2f}{row['preprocess_peak_gb']:>9.2f}{row['begin_s']:>18.3f}"
        )
    for name, values in report["ms_each_more"].items():
        texts = ", then ".join(f"{value:.1f} ms" for value in values)
        ratio = f"; ratio {values[-1] / values[0]:.2f} (target ≤ {FLAT})" if len(values) > 1 else ""
        print(f"{name}: each volume more costs {texts}{ratio}")


def main() -> None:
    """Measure both ways of growing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--largest", type=int, nargs=3, metavar=("Z", "Y", "X"), help="no stack larger than this")
    parser.add_argument("--volumes", type=int, nargs="+", default=[6, 300, 600], help="numbers of volumes")
    parser.add_argument("--json", action="store_true", help="for machines")
    parser.add_argument("--infer", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)))
    if arguments.infer:
        infer(arguments.infer)
        return
    most = np.prod(arguments.largest or SIZES[-1])
    rows = by_number(arguments.volumes)
    report = {
        "machine": describe_machine(torch.device("cpu")),
        "threads": torch.get_num_threads(),
        "by_size": list(by_size([shape for shape in SIZES if np.prod(shape) <= most])),
        "by_number": rows,
        "ms_each_more": {key: each_more(rows, f"{key}_s") for key in ("preprocess", "begin")},
    }
    print(json.dumps(report)) if arguments.json else print_tables(report)


if __name__ == "__main__":
    main()
