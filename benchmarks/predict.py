"""How fast three networks predict a stack: `capillary predict` against MONAI's sliding window in a warm process.

    python benchmarks/predict.py [--stack IMAGE LABEL] [--networks N] [--steps N] [--threads N] [--stacks N] [--json]

The same three DynUNets of configs/experiments/vesselnn.yaml's size, patch, overlap and threads for all, in one run.
MONAI's plain `sliding_window_inference` has the normalised stack in memory and ends with a mask in memory, in float32
and in bf16. `capillary predict` reads the file, normalises, predicts, thresholds and writes the mask. The networks
learn the stack for a few steps, so that their decisions are not those of noise. Without --stack it is a synthetic one
of 15×512×512 voxels. Where the processor has no bf16 units, bf16 is measured on a small patch and scaled up.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import tifffile
import torch
import yaml
from numpy.typing import NDArray

from benchmarks.scaling import stack as synthetic
from stages.common.backends.network import PreparedNetwork
from stages.common.backends.openvino_network import precisions
from stages.common.backends.settings import Backend, BackendSettings, work_voxels
from stages.common.imaging.intensities.normalise import apply_scale, measure_scale
from stages.common.imaging.recipe import Recipe
from stages.common.inference import BATCH_SIZE
from stages.common.monitoring.memory_guard import MemoryGuard
from stages.common.networks.catalogue import build_network
from stages.common.networks.monai_parts import sliding_window_inference
from stages.common.networks.plan import plan_network
from stages.common.requests.prediction.request import PredictRequest, StackRequest
from stages.predict.batch.batch import Batch
from stages.predict.disk.scratch import Scratch
from stages.predict.models.ensemble import Ensemble
from stages.predict.params import Evaluation
from stages.predict.reporting import Remarks
from stages.predict.steps import Method, compute, prepare, survey, write
from tests.support.tracking.cards import CARD

REPOSITORY = Path(__file__).resolve().parent.parent
SHAPE, SPACING_UM = (15, 512, 512), (5.0, 1.0, 1.0)
OVERLAP, THRESHOLD = 0.5, 0.5
RECIPE = Recipe(normalisation="percentile", percentile_low=0.5, percentile_high=99.5, resample_to_um=None)
SMALL = (12, 96, 96)  # the patch, and a further stack that is one patch
TINY = 32
IMPORTS = "import stages.predict.predict"

Mask = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Timed:
    """Of one stack under all networks; `note` says where it was not measured as a whole."""

    name: str
    seconds: float
    cpu_s: float
    mask: Mask | None = None
    note: str = ""


@contextmanager
def clocks() -> Iterator[list[float]]:
    """Filled with seconds on the clock and of the processor, programs started meanwhile included."""
    found: list[float] = []
    wall, cpu = time.perf_counter(), sum(os.times()[:4])
    yield found
    found += [time.perf_counter() - wall, sum(os.times()[:4]) - cpu]


def trained(image: NDArray[np.float32], label: Mask, count: int, steps: int) -> list[torch.nn.Module]:
    """Networks of `count` seeds, after `steps` steps on random patches."""
    shipped = yaml.safe_load((REPOSITORY / "configs/experiments/vesselnn.yaml").read_text())["training"]
    patch = tuple(shipped["patch_voxels"])
    plan = plan_network(spacing_um=SPACING_UM, patch_voxels=patch, filters=tuple(shipped["filters"]))
    networks = []
    for seed in range(count):
        network = build_network(plan, seed, architecture="dynunet", deep_supervision=False)
        rng = np.random.default_rng(seed)
        optimiser = torch.optim.Adam(network.parameters(), lr=4e-3)
        for _ in range(steps):
            starts = [int(rng.integers(size - part + 1)) for size, part in zip(image.shape, patch, strict=True)]
            cut = tuple(slice(start, start + part) for start, part in zip(starts, patch, strict=True))
            logits = network(torch.from_numpy(image[cut].copy())[None, None])
            weights = torch.tensor([1.0, min(20.0, 1 / max(float(label.mean()), 1e-3))])
            loss = torch.nn.functional.cross_entropy(
                logits, torch.from_numpy(label[cut].astype(np.int64))[None], weights
            )
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        networks.append(network.eval())
    return networks


def by_monai(networks: list[torch.nn.Module], image: NDArray[np.float32], half: bool) -> Mask:
    """The mask by MONAI's inferer, as its tutorials call it, with our batch size."""

    def vessel(network: torch.nn.Module, patches: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
            logits: torch.Tensor = network(patches)
        return torch.softmax(logits.float(), dim=1)

    given, total = torch.from_numpy(image)[None, None], torch.zeros(1)
    with torch.inference_mode():
        for network in networks:
            found = sliding_window_inference(
                given,
                SMALL,
                BATCH_SIZE,
                lambda patches, at=network: vessel(at, patches),
                overlap=OVERLAP,
                mode="gaussian",
            )
            assert isinstance(found, torch.Tensor)
            total = total + found[0, 1]
    return np.asarray((total / len(networks)).numpy() > THRESHOLD)


def time_monai(networks: list[torch.nn.Module], image: NDArray[np.float32], half: bool) -> Timed:
    """One stack; in bf16 without units for it, from a small patch by one network."""
    name = f"MONAI, {'bf16' if half else 'fp32'}"
    if half and "bf16" not in precisions():
        part = torch.from_numpy(image[:4, :TINY, :TINY].copy())[None, None]
        with clocks() as one, torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
            networks[0](part)
        z, y, x = image.shape
        times = len(networks) * work_voxels((z, y, x), SMALL, OVERLAP, "none") / part.numel()
        return Timed(name=name, seconds=one[0] * times, cpu_s=one[1] * times, note="scaled up: no bf16 units")
    by_monai(networks, image[: SMALL[0], : SMALL[1], : SMALL[2]].copy(), half)  # warm
    with clocks() as found:
        mask = by_monai(networks, image, half)
    return Timed(name=name, seconds=found[0], cpu_s=found[1], mask=mask)


def make_method(networks: list[torch.nn.Module], backend: Backend, threads: int) -> Method:
    """Networks as `capillary predict` holds them."""
    settings = BackendSettings(asked=backend, threads=threads)
    cards = [replace(CARD, patch_voxels=SMALL, recipe=RECIPE, fold=fold) for fold in range(len(networks))]
    ready = tuple(PreparedNetwork(network, card, settings) for network, card in zip(networks, cards, strict=True))
    ensemble = Ensemble(networks=ready, device=torch.device("cpu"), patch_voxels=SMALL, recipe=RECIPE)
    evaluation = Evaluation(
        overlap=OVERLAP, threshold=THRESHOLD, test_time_flips="none", backend=backend, min_component_um3=None
    )
    return Method(ensemble=ensemble, evaluation=evaluation, batch_size=BATCH_SIZE, guard=MemoryGuard())


def time_ours(method: Method, file: Path, name: str) -> Timed:
    """From the file to the file, networks ready."""
    stack = StackRequest(image=file, mask=file.with_name("mask.tif"), spacing_um=SPACING_UM)
    report = Remarks(name=name, check=lambda: None).report()
    with clocks() as found, Scratch(stack.mask) as scratch:
        place = survey(stack, report)
        prepared = prepare(stack, place, method, scratch, lambda *_: None, report)
        write(stack, place, compute(prepared, place, method, scratch, report))
    mask = tifffile.imread(stack.mask) > 0
    stack.mask.unlink()
    return Timed(name=name, seconds=found[0], cpu_s=found[1], mask=mask)


def startup(method: Method, shape: tuple[int, int, int]) -> tuple[list[float], list[float]]:
    """(seconds of the imports, of converting and comparing all networks), each on the clock and of the processor."""
    with clocks() as imports:
        subprocess.run([sys.executable, "-c", IMPORTS], cwd=REPOSITORY, check=True)
    with clocks() as converting:
        for network in method.ensemble.networks:
            network.for_work(work_voxels(shape, SMALL, OVERLAP, "none"))
    return imports, converting


def overhead_s(method: Method, folder: Path, count: int) -> tuple[float, float]:
    """(seconds on the clock, of the processor) of each of many stacks, without what the networks take."""
    spent: list[list[float]] = []
    inner = method.ensemble

    class Watched:
        """The ensemble, with its time taken."""

        patch_voxels, recipe, networks, device = inner.patch_voxels, inner.recipe, inner.networks, inner.device

        def probability(self, *given: Any) -> torch.Tensor:
            with clocks() as found:
                result = inner.probability(*given)
            spent.append(found)
            return result

    stacks = []
    for number in range(count):
        file = folder / f"{number}.tif"
        tifffile.imwrite(file, synthetic(SMALL, number)[0])
        stacks.append(
            StackRequest(image=file, mask=folder / "work" / f"{number:05}" / file.name, spacing_um=SPACING_UM)
        )
    (folder / "work").mkdir()
    request = PredictRequest(stacks=tuple(stacks), folder=folder / "work")
    with clocks() as whole:
        Batch(request, replace(method, ensemble=Watched()), "key").run()  # type: ignore[arg-type]
    return tuple((whole[which] - sum(one[which] for one in spent)) / count for which in (0, 1))  # type: ignore[return-value]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stack", nargs=2, type=Path, metavar=("IMAGE", "LABEL"))
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--networks", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--stacks", type=int, default=20, help="small ones, for what a further stack costs")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    voxels, label = [tifffile.imread(file) for file in asked.stack] if asked.stack else synthetic(SHAPE, 1)
    image = np.ascontiguousarray(apply_scale(voxels, measure_scale(voxels, RECIPE)))
    networks = trained(image, label > 0, asked.networks, asked.steps)
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "stack.tif"
        tifffile.imwrite(file, voxels)
        fast = make_method(networks, "auto", asked.threads)
        imports, converting = startup(fast, image.shape)
        rows = [time_monai(networks, image, half) for half in (False, True)]
        rows.append(time_ours(make_method(networks, "torch", asked.threads), file, "capillary, torch"))
        rows.append(time_ours(fast, file, "capillary, auto"))
        further = overhead_s(fast, Path(name), asked.stacks)
    _show(asked, rows, fast, {"imports": imports, "converting": converting, "further stack": list(further)})


def _show(asked: argparse.Namespace, rows: list[Timed], fast: Method, others: dict[str, list[float]]) -> None:
    exact, half = rows[0], rows[1]
    table = [
        {
            "what": row.name,
            "seconds": round(row.seconds, 2),
            "cpu_s": round(row.cpu_s, 2),
            "times_monai_fp32": round(exact.cpu_s / row.cpu_s, 2),
            "times_monai_bf16": round(half.cpu_s / row.cpu_s, 2),
            "equal": None if row.mask is None or exact.mask is None else float(np.mean(row.mask == exact.mask)),
            "vessel": None if row.mask is None else float(row.mask.mean()),
            "note": row.note,
        }
        for row in rows
    ]
    choices = [network.choice.words for network in fast.ensemble.networks if network.choice is not None]
    if asked.json:
        print(json.dumps({"rows": table, "choices": choices, **others}, indent=2))
        return
    print("\n".join(dict.fromkeys(choices)))
    for one in table:
        equal = "–" if one["equal"] is None else f"{one['equal']:.4%}"
        print(
            f"{one['what']:<18} {one['seconds']:>8} s {one['cpu_s']:>8} CPU s  × fp32 {one['times_monai_fp32']:<6}"
            f" × bf16 {one['times_monai_bf16']:<6} equal {equal} {one['note']}"
        )
    for what, (seconds, cpu_s) in others.items():
        print(f"{what}: {seconds:.3f} s, {cpu_s:.3f} CPU s")


if __name__ == "__main__":
    main()
