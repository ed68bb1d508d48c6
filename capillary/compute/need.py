"""Estimates what a run needs from a machine, given its params. A pure function; the formula and its constants:

    RAM of a training   processes of a node × cells at a time × (
                            PROCESS_GB + parameters × PARAMETER_BYTES
                            + values of the layers × LAYER_BYTES, for its patches in the network at a time (CPU)
                            + HOST_OF_GPU_GB + loader processes × LOADER_GB (GPU)
                            + volumes × PROCESSED_BYTES, where the profile keeps them in memory)
    RAM of preprocess   processes × (STAGE_GB + voxels of the largest volume × PREPROCESS_BYTES)
    RAM of evaluate     STAGE_GB + voxels of the largest volume × EVALUATE_BYTES
                        The need is the largest of the three.
    GPU memory          CONTEXT_GB + parameters × PARAMETER_BYTES + values of the layers × GPU_LAYER_BYTES, one patch's
    shared memory       loader processes × batches that wait in each × bytes of a batch
    workspace           volumes that preprocess is still to make + CHECKPOINTS of each cell that runs
    DVC's cache         the same volumes once more
    runs                a registered model and RUN_GB for each cell
    Docker              the images that are still to be built

The values of the layers are voxels × channels of a patch, level by level, when every level halves y and x alone: a
bound, because most networks halve z, too. tests/integration/train/test_train_need.py compares the estimate with the
peak of a real training.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from capillary.compute.volumes import Volumes
from capillary.params_file import listed_cells
from stages.common.imaging.zyx import Shape
from stages.common.runtime import Compute, Need

GB = 1e9
PROCESS_GB = 0.72  # a process with torch, MONAI and MLflow that trains next to nothing
STAGE_GB = 0.6  # preprocess or evaluate on a volume of no size (docs/benchmarks.md)
LOADER_GB = 0.3  # what a loader process does not share with its training
CONTEXT_GB = 0.6  # CUDA's own, on each GPU
HOST_OF_GPU_GB = 2.0  # CUDA's libraries and pinned memory, in RAM
LAYER_BYTES = 100.0  # float32, kept for the gradient several times in each block; with the probe's copies
GPU_LAYER_BYTES = 60.0  # half types, without the probe's copies
PARAMETER_BYTES = 40.0  # weight, gradient, two moments, and a checkpoint on its way to the disk
CHECKPOINT_BYTES = 16.0  # a parameter: weight, two moments, the weights before the last step
CHECKPOINTS = 3  # the present one, the one before, one that is being written
MODEL_BYTES = 4.0  # a parameter, registered
RUN_GB = 0.002  # curves, environment and card of a run
PREPROCESS_BYTES = 21.0  # a voxel (docs/benchmarks.md#size)
EVALUATE_BYTES = 30.0  # a voxel: image, probability, mask, label, and what the metrics take
PROCESSED_BYTES = 6.0  # a voxel: image float32, label and skeleton uint8
PREFETCHED = 2  # batches that wait in each loader process
SAMPLE_BYTES = 6.0  # a voxel of a patch: image float32, label and skeleton uint8


@dataclass(frozen=True, kw_only=True)
class RunShape:
    """What an estimate follows from. `volumes` are empty if they are not known.

    `micro_batch` is how many patches are in the network at a time on a CPU; a GPU takes at least one. `cells` are all
    trainings, `cells_at_once` those that run side by side. `unmade_voxels` are those of volumes that preprocess is
    still to write. `image_gb` is the size of the images that are still to be built. `processes` are those of one cell
    on all of its `nodes`.
    """

    volumes: Sequence[Shape]
    patch_voxels: Shape
    filters: Sequence[int]
    batch_size: int
    micro_batch: int
    cells: int
    cells_at_once: int
    processes: int
    workers: int
    on_gpu: bool
    keeps_volumes: bool
    unmade_voxels: int = 0
    image_gb: float = 0.0
    nodes: int = 1


def run_shape(params: Mapping[str, Any], volumes: Volumes, compute: Compute) -> RunShape | None:
    """One cell, and the stages before and after it; None if `params` hold no training.

    `compute` is how a stage computes here. `params` must have been checked.
    """
    training = params.get("training")
    if not isinstance(training, Mapping) or not {"patch_voxels", "filters", "batch_size"} <= training.keys():
        return None
    z, y, x = training["patch_voxels"]
    return RunShape(
        volumes=volumes.shapes,
        unmade_voxels=volumes.unmade_voxels,
        patch_voxels=(z, y, x),
        filters=tuple(training["filters"]),
        batch_size=training["batch_size"],
        micro_batch=compute.micro_batch or training["batch_size"],
        cells=len(listed_cells(params)) or 1,
        cells_at_once=1,
        processes=compute.processes,
        nodes=compute.nodes,
        workers=compute.workers,
        on_gpu=compute.device != "cpu",
        keeps_volumes=compute.cache == "memory",
    )


def estimate(run: RunShape) -> Need:
    """The need of a whole run, from preprocess to evaluate."""
    training_gb = training_ram_gb(run)
    preprocess_gb, evaluate_gb = preprocess_ram_gb(run), evaluate_ram_gb(run)
    made_gb = run.unmade_voxels * PROCESSED_BYTES / GB
    parameters = parameters_of(run.filters)
    checkpoint_gb = parameters * CHECKPOINT_BYTES / GB
    return Need(
        ram_gb=max(training_gb, preprocess_gb, evaluate_gb),
        shared_memory_gb=shared_memory_gb(run),
        gpu_gb=gpu_gb(run) if run.on_gpu else 0.0,
        workspace_gb=made_gb + CHECKPOINTS * checkpoint_gb * run.cells_at_once,
        cache_gb=made_gb,
        runs_gb=run.cells * (parameters * MODEL_BYTES / GB + RUN_GB),
        docker_gb=run.image_gb,
        why=describe(run, training_gb, preprocess_gb, evaluate_gb),
    )


def training_ram_gb(run: RunShape) -> float:
    """RAM of all trainings that run side by side; on several nodes, of each node."""
    parameters_gb = parameters_of(run.filters) * PARAMETER_BYTES / GB
    if run.on_gpu:
        process_gb = PROCESS_GB + HOST_OF_GPU_GB + parameters_gb + run.workers * LOADER_GB
    else:
        share = math.ceil(min(run.micro_batch, run.batch_size) / run.processes)
        process_gb = PROCESS_GB + parameters_gb + share * layer_values(run) * LAYER_BYTES / GB
    kept_gb = sum(map(math.prod, run.volumes)) * PROCESSED_BYTES / GB if run.keeps_volumes else 0.0
    return run.cells_at_once * (run.processes // run.nodes) * (process_gb + kept_gb)


def preprocess_ram_gb(run: RunShape) -> float:
    """RAM of preprocess, each of whose processes works on a volume; 0 where it has nothing left to make."""
    if not run.unmade_voxels or not run.volumes:
        return 0.0
    at_once = min(run.workers, len(run.volumes))
    return at_once * (STAGE_GB + _largest(run) * PREPROCESS_BYTES / GB)


def evaluate_ram_gb(run: RunShape) -> float:
    """RAM of evaluate, which holds one volume at a time."""
    return STAGE_GB + _largest(run) * EVALUATE_BYTES / GB if run.volumes else 0.0


def shared_memory_gb(run: RunShape) -> float:
    """Shared memory of one training: batches on their way from loader processes. A CPU training has none."""
    if not run.on_gpu:
        return 0.0
    batch_gb = run.batch_size * math.prod(run.patch_voxels) * SAMPLE_BYTES / GB
    return run.workers * PREFETCHED * batch_gb


def gpu_gb(run: RunShape) -> float:
    """Memory of a GPU with which a training can begin: one patch at a time."""
    parameters_gb = parameters_of(run.filters) * PARAMETER_BYTES / GB
    return CONTEXT_GB + parameters_gb + layer_values(run) * GPU_LAYER_BYTES / GB


def layer_values(run: RunShape) -> float:
    """Voxels × channels of one patch, over all levels."""
    voxels = math.prod(run.patch_voxels)
    return sum(width * voxels / (1 << 2 * level) for level, width in enumerate(run.filters))


def parameters_of(filters: Sequence[int]) -> int:
    """Weights of a U-Net of two 3×3×3 convolutions per level, down and up again, with 2×2×2 steps up."""
    down = sum(27 * (before * width + width * width) for before, width in zip([1, *filters], filters, strict=False))
    steps = list(itertools.pairwise(filters))
    up = sum(8 * below * width + 27 * (2 * width * width + width * width) for width, below in steps)
    return down + up


def describe(run: RunShape, training_gb: float, preprocess_gb: float, evaluate_gb: float) -> str:
    """What the need of RAM follows from."""
    if training_gb >= max(preprocess_gb, evaluate_gb):
        cells = f"{run.cells_at_once} cell{'s' if run.cells_at_once > 1 else ''} at a time"
        return f"{cells}, patches of {_by(run.patch_voxels)}, filters up to {max(run.filters)}"
    stage = "preprocess" if preprocess_gb >= evaluate_gb else "evaluate"
    return f"{stage} of a volume of {_by(max(run.volumes, key=math.prod))}"


def _largest(run: RunShape) -> int:
    return max(map(math.prod, run.volumes))


def _by(shape: Shape) -> str:
    return "×".join(map(str, shape))
