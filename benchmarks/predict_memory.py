"""What `capillary predict` takes in memory: stacks of growing size through a tiny network, in a plain process.

    python benchmarks/predict_memory.py [Z,Y,X …]        default: 25,512,512 50,1024,1024 200,2048,2048

For each stack (16 bit, noise in a gradient; made in a temporary folder, which needs eleven bytes per voxel) the peak of
the resident memory of the whole process tree, the launcher included, sampled every 50 ms. A real network adds its
weights and what two patches take in it: the same for every stack.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import tifffile
import torch
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from stages.common.imaging.recipe import Recipe
from tests.support.models.prediction import PredictionProject
from tests.support.parts import command_environment

PATCH = (32, 128, 128)
RECIPE = Recipe(normalisation="percentile", percentile_low=0.5, percentile_high=99.5, resample_to_um=None)


def small_network() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Conv3d(1, 4, 1), torch.nn.ReLU(), torch.nn.Conv3d(4, 2, 1))


def planes(shape: tuple[int, ...]) -> Iterator[NDArray[np.uint16]]:
    rng = np.random.default_rng(0)
    for z in range(shape[0]):
        yield (rng.integers(0, 2000, shape[1:], dtype=np.uint16) + np.uint16(z)).astype(np.uint16)


def peak_gb(process: psutil.Popen) -> float:
    peak = 0
    while process.poll() is None:
        total = 0
        for each in [process, *process.children(recursive=True)]:
            try:
                total += each.memory_info().rss
            except psutil.NoSuchProcess:
                continue
        peak = max(peak, total)
        time.sleep(0.05)
    return peak / 1e9


def main(shapes: list[tuple[int, ...]]) -> None:
    environment = command_environment(CAPILLARY_EXECUTOR="process")
    print(f"patch {'×'.join(map(str, PATCH))}, overlap 0.25, torch {torch.__version__}")
    print("stack                voxels      file GB   peak GB   seconds")
    with tempfile.TemporaryDirectory() as folder:
        project = PredictionProject(Path(folder) / "project")
        project.register(small_network(), patch_voxels=PATCH, recipe=RECIPE)
        params = project.root / "params.yaml"
        params.write_text(params.read_text().replace("overlap: 0.5", "overlap: 0.25"))
        for shape in shapes:
            stack = Path(folder) / "stack.tif"
            tifffile.imwrite(stack, planes(shape), shape=shape, dtype=np.uint16, metadata=None)
            started = time.monotonic()
            argv = [
                "capillary",
                "predict",
                str(stack),
                str(stack.with_name("mask.tif")),
                "--spacing-um",
                "2,1,1",
                "--force",
            ]
            process = psutil.Popen(argv, cwd=project.root, env=environment, stdout=subprocess.DEVNULL)
            peak = peak_gb(process)
            assert process.returncode == 0, process.returncode
            size = stack.stat().st_size / 1e9
            name = "×".join(map(str, shape))
            print(f"{name:<16} {np.prod(shape):>13,} {size:>9.2f} {peak:>9.2f} {time.monotonic() - started:>9.0f}")


if __name__ == "__main__":
    asked = sys.argv[1:] or ["25,512,512", "50,1024,1024", "200,2048,2048"]
    main([tuple(map(int, text.split(","))) for text in asked])
