"""What measuring a pair of masks costs: time and peak memory of capillary's metrics and of MetricsReloaded's algorithm.

    python benchmarks/evaluation.py [--shape Z Y X] [--rounds N] [--threads N] [--json]

DSC, centreline DSC, MASD, HD95 and NSD of made-up vessels of 512 × 512 × 50 voxels, of speckle, and of a volume that is
foreground throughout. Each measurement is its own process, one after the other: its time is the median over the
rounds, its memory what it needs at its peak beyond imports and the two masks; CPU time is there for noisy machines. The
values of both must agree to 1e-6, but for the centreline DSC: the reference's thinning loses vessels, and the table
says what that makes. A last line has every metric that capillary measures by default.

The reference is written after the published definitions (Maier-Hein et al. 2024, doi:10.1038/s41592-023-02151-z) in the
way that MetricsReloaded computes them: distance transforms of whole volumes, once a pair, and one skeleton after the
other. The package itself is not on PyPI.
"""

import argparse
import json
import math
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

Mask = NDArray[np.bool_]
SPACING_UM = (2.5, 0.7, 0.7)
TOLERANCE_UM = 2.0
RADIUS_BANDS_UM = (3.0, 6.0)
COMPARED = ("dsc", "centreline_dsc", "measured_masd_um", "hd95_um", "nsd")
AGREEING = tuple(name for name in COMPARED if name != "centreline_dsc")
VESSELS = "vessels"
# scene → the ratios of time and memory that must be reached
TARGETS: dict[str, tuple[float, float | None]] = {
    VESSELS: (5, 5),
    "speckle against vessels": (1.5, None),
    "speckle against speckle": (1.5, None),
    "all foreground against vessels": (1.5, None),
    "all foreground against itself": (1.5, None),
}
WAYS = ("MetricsReloaded's", "capillary", "capillary, every metric")


def draw_vessels(shape_zyx: tuple[int, ...], seed: int) -> tuple[Mask, Mask]:
    """A prediction and its label: bent tubes of 1.5 to 6 µm radius; the predicted ones slightly shifted and thicker."""
    rng = np.random.default_rng(seed)
    prediction, label = (np.zeros(shape_zyx, dtype=np.bool_) for _ in range(2))
    for _ in range(max(1, math.prod(shape_zyx) // 200_000)):
        place, heading = rng.random(3) * shape_zyx, rng.normal(size=3) * (0.3, 1, 1)
        radius, offset, swelling = rng.uniform(1.5, 6), rng.normal(0, 0.7, 3), rng.uniform(0.8, 1.15)
        for _ in range(int(rng.integers(100, 400))):
            heading = heading + rng.normal(0, 0.08, 3) * (0.4, 1, 1)
            heading /= np.linalg.norm(heading)
            place = place + heading
            stamp(label, place, radius)
            stamp(prediction, place + offset, radius * swelling)
    return prediction, label


def stamp(mask_zyx: Mask, centre: NDArray[np.float64], radius_um: float) -> None:
    """Fill a ball of `radius_um` around `centre` (voxels), as far as it is in the volume."""
    radii = radius_um / np.array(SPACING_UM)
    low = np.maximum(np.floor(centre - radii).astype(int), 0)
    high = np.minimum(np.ceil(centre + radii).astype(int) + 1, mask_zyx.shape)
    if (high <= low).any():
        return
    box = tuple(slice(start, stop) for start, stop in zip(low, high, strict=True))
    axes = zip(np.ogrid[box], centre, radii, strict=True)
    mask_zyx[box] |= sum(((axis - middle) / size) ** 2 for axis, middle, size in axes) <= 1


def draw(scene: str, shape_zyx: tuple[int, ...]) -> tuple[Mask, Mask]:
    """Prediction and label of `scene`."""
    vessels = draw_vessels(shape_zyx, seed=0)
    full, rng = np.ones(shape_zyx, dtype=np.bool_), np.random.default_rng(1)
    speckle, other = (rng.random(shape_zyx) < 0.1 for _ in range(2))
    return {
        VESSELS: vessels,
        "speckle against vessels": (speckle, vessels[1]),
        "speckle against speckle": (speckle, other),
        "all foreground against vessels": (full, vessels[1]),
        "all foreground against itself": (full, full),
    }[scene]


def measure_by_reference(prediction_zyx: Mask, label_zyx: Mask) -> dict[str, float]:
    """The five metrics as MetricsReloaded computes them, on bytes of 0 and 1; NaN if it divides by 0."""
    from scipy.ndimage import binary_erosion, distance_transform_edt
    from skimage.morphology import skeletonize

    predicted, reference = prediction_zyx.astype(np.uint8), label_zyx.astype(np.uint8)
    common = np.sum(((predicted.astype(np.float32) + reference.astype(np.float32)) > 1).astype(np.float32))
    borders = [mask - binary_erosion(mask).astype(np.uint8) for mask in (predicted, reference)]
    to_border = [distance_transform_edt(1 - border, sampling=SPACING_UM) for border in borders]
    of_prediction, of_reference = borders[0] * to_border[1], borders[1] * to_border[0]
    sizes = [np.sum(border, dtype=np.int64) for border in borders]
    directed = of_prediction[borders[0] > 0], of_reference[borders[1] > 0]
    near = [np.sum(borders[0] * (of_prediction <= TOLERANCE_UM)), np.sum(borders[1] * (of_reference <= TOLERANCE_UM))]
    skeletons = [skeletonize(mask) for mask in (reference, predicted)]
    with np.errstate(invalid="ignore"):
        sensitivity = np.sum(skeletons[0] * predicted) / np.sum(skeletons[0])
        precision = np.sum(skeletons[1] * reference) / np.sum(skeletons[1])
        centreline_dsc = 2 * precision * sensitivity / (precision + sensitivity)
    return {
        "dsc": float(2 * common / (np.sum(predicted, dtype=np.int64) + np.sum(reference, dtype=np.int64))),
        "centreline_dsc": float(centreline_dsc),
        "measured_masd_um": float((np.sum(of_prediction) / sizes[0] + np.sum(of_reference) / sizes[1]) / 2),
        "hd95_um": float(max(np.percentile(side, 95) for side in directed)),
        "nsd": float(sum(near) / sum(sizes)),
    }


def measure_by_capillary(prediction_zyx: Mask, label_zyx: Mask, metrics: list[str], threads: int) -> dict[str, float]:
    """As the stage evaluate does."""
    from stages.evaluate.measure import measure

    found = measure(
        prediction_zyx,
        label_zyx,
        SPACING_UM,
        metrics=metrics,
        nsd_tolerance_um=TOLERANCE_UM,
        radius_bands_um=RADIUS_BANDS_UM,
        threads=threads,
    )
    return dict(found.values)


def run_here(way: str, masks: Path, threads: int) -> None:
    """The child: measure once and print values, seconds and peak memory as JSON."""
    from stages.common.metrics import METRICS

    with np.load(masks) as found:
        prediction, label = found["prediction"], found["label"]
    tiny = np.zeros((4, 8, 8), dtype=np.bool_)
    tiny[1:3, 2:5, 2:5] = True

    def measure(prediction: Mask, label: Mask) -> dict[str, float]:
        if way == WAYS[0]:
            return measure_by_reference(prediction, label)
        metrics = list(COMPARED if way == WAYS[1] else METRICS)
        return measure_by_capillary(prediction, label, metrics, threads)

    measure(tiny, tiny)  # imports what is needed
    before, started, started_cpu = psutil.Process().memory_info().rss, time.perf_counter(), time.process_time()
    values = measure(prediction, label)
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - started_cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    print(
        json.dumps({"values": values, "seconds": seconds, "cpu_seconds": cpu_seconds, "peak_mb": (peak - before) / 1e6})
    )


def run_apart(way: str, masks: Path, threads: int) -> dict[str, Any]:
    """`run_here` in a fresh process."""
    argv = [sys.executable, __file__, "--measure", way, "--masks", str(masks), "--threads", str(threads)]
    done = subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def compare(scene: str, shape_zyx: tuple[int, ...], rounds: int, threads: int) -> dict[str, Any]:
    """Every way on `scene`, turn by turn."""
    with tempfile.TemporaryDirectory() as folder:
        masks = Path(folder) / "masks.npz"
        prediction, label = draw(scene, shape_zyx)
        np.savez(masks, prediction=prediction, label=label)
        found = [{way: run_apart(way, masks, threads) for way in WAYS} for _ in range(rounds)]
    result: dict[str, Any] = {"scene": scene, "foreground": [float(prediction.mean()), float(label.mean())]}
    for way in WAYS:
        result[way] = {
            key: statistics.median(each[way][key] for each in found) for key in ("seconds", "cpu_seconds", "peak_mb")
        }
    values = [found[0][way]["values"] for way in WAYS[:2]]
    result["values"] = values[1]
    result["largest_difference"] = max(
        abs(values[0][name] - values[1][name]) for name in AGREEING if not math.isnan(values[0][name])
    )
    result["centreline_dsc"] = [found["centreline_dsc"] for found in values]
    result["undefined_in_reference"] = [name for name in COMPARED if math.isnan(values[0][name])]
    assert result["largest_difference"] <= 1e-6, result
    return result


def print_table(results: list[dict[str, Any]]) -> None:
    """A line a scene and way, with its ratios to the reference."""
    print(f"{'scene':<32}{'way':<26}{'seconds':>9}{'ratio':>7}{'CPU s':>8}{'peak MB':>9}{'ratio':>7}  target")
    for result in results:
        reference = result[WAYS[0]]
        for way in WAYS:
            found = result[way]
            ratios = [reference[key] / max(found[key], 1e-9) for key in ("seconds", "peak_mb")]
            time_target, memory_target = TARGETS[result["scene"]]
            wanted = f"time ≥ {time_target:g}" + (f", memory ≥ {memory_target:g}" if memory_target else "")
            print(
                f"{result['scene'] if way == WAYS[0] else '':<32}{way:<26}{found['seconds']:>9.2f}{ratios[0]:>7.1f}"
                f"{found['cpu_seconds']:>8.2f}"
                f"{found['peak_mb']:>9.0f}{ratios[1]:>7.1f}  {wanted if way == WAYS[1] else ''}"
            )
        undefined = [f"; NaN there: {name}" for name in result["undefined_in_reference"]]
        centrelines = "centreline DSC there {:.4f}, here {:.4f}".format(*result["centreline_dsc"])
        print(f"    values agree to {result['largest_difference']:.1e}; {centrelines}", *undefined, sep="")


def main() -> None:
    """Measure all scenes, or one pair in a child."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", type=int, nargs=3, default=(50, 512, 512), metavar=("Z", "Y", "X"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="of capillary; the reference has one")
    parser.add_argument("--scene", choices=list(TARGETS), action="append", help="only this one; may be repeated")
    parser.add_argument("--json", action="store_true", help="for machines")
    parser.add_argument("--measure", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--masks", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        run_here(arguments.measure, arguments.masks, arguments.threads)
        return
    shape = tuple(arguments.shape)
    results = [compare(scene, shape, arguments.rounds, arguments.threads) for scene in arguments.scene or TARGETS]
    machine = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {arguments.threads} threads"
    if arguments.json:
        print(json.dumps({"machine": machine, "shape_zyx": shape, "results": results}))
        return
    print(f"{machine}, Python {platform.python_version()}; {' × '.join(map(str, shape))} voxels (z, y, x)")
    print_table(results)


if __name__ == "__main__":
    main()
