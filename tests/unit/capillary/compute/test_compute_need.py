"""The need of a run: it grows with what makes a run large, and agrees with what real runs took."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from capillary.compute.need import (
    GB,
    RunShape,
    estimate,
    evaluate_ram_gb,
    parameters_of,
    preprocess_ram_gb,
    run_shape,
    training_ram_gb,
)
from capillary.compute.volumes import Volumes, find_volumes, npy_shape
from stages.common.runtime import Compute, Need

RUN = RunShape(
    volumes=((50, 512, 512), (24, 256, 256)),
    patch_voxels=(12, 64, 64),
    filters=(16, 32, 64, 128),
    batch_size=2,
    micro_batch=2,
    cells=3,
    cells_at_once=1,
    processes=1,
    workers=2,
    on_gpu=False,
    keeps_volumes=False,
)


@pytest.mark.parametrize(
    ("patch", "filters", "batch", "peak_gb"),
    [
        # peak resident memory of the train stage on a CPU in float32, measured one at a time
        ((8, 32, 32), (4, 8, 16), 2, 0.712),
        ((12, 64, 64), (16, 32, 64, 128), 2, 1.061),
        ((12, 96, 96), (16, 32, 64, 128), 2, 1.491),
        ((12, 96, 96), (16, 32, 64, 128), 4, 1.603),
        ((16, 128, 128), (16, 32, 64, 128), 2, 1.822),
    ],
)
def test_the_ram_of_a_training_is_within_a_third_of_what_was_measured(
    patch: tuple[int, int, int], filters: tuple[int, ...], batch: int, peak_gb: float
) -> None:
    """From next to nothing to a large patch."""
    run = replace(RUN, patch_voxels=patch, filters=filters, batch_size=batch, micro_batch=batch)
    assert 0.9 <= training_ram_gb(run) / peak_gb <= 1.34


def test_each_node_needs_the_ram_of_its_own_processes() -> None:
    """Four processes on two nodes: half of what they need on one."""
    run = replace(RUN, processes=4)
    assert training_ram_gb(replace(run, nodes=2)) == training_ram_gb(run) / 2


@pytest.mark.parametrize(("shape", "peak_gb"), [((50, 512, 512), 0.79), ((110, 512, 512), 1.11)])
def test_the_ram_of_preprocess_is_within_a_fifth_of_the_benchmark(shape: tuple[int, int, int], peak_gb: float) -> None:
    """docs/benchmarks.md has its peaks, with one process."""
    run = replace(RUN, volumes=(shape,), unmade_voxels=1, workers=1)
    assert 0.8 <= preprocess_ram_gb(run) / peak_gb <= 1.2
    assert evaluate_ram_gb(run) > preprocess_ram_gb(run), "evaluate measures what it predicted, too"


def test_the_parameters_are_those_of_the_default_network() -> None:
    """A checkpoint of it has 22.4 MB: 16 bytes each."""
    assert 1.3e6 < parameters_of((16, 32, 64, 128)) < 1.5e6


@pytest.mark.parametrize(
    ("larger", "amounts"),
    [
        ({"patch_voxels": (24, 256, 256)}, {"ram_gb"}),
        ({"filters": (64, 128, 256, 512)}, {"ram_gb", "workspace_gb", "runs_gb"}),
        ({"batch_size": 32, "micro_batch": 32}, {"ram_gb"}),
        ({"cells_at_once": 3}, {"ram_gb", "workspace_gb"}),
        ({"cells": 30}, {"runs_gb"}),
        ({"unmade_voxels": 10**9}, {"ram_gb", "workspace_gb", "cache_gb"}),
        ({"volumes": ((400, 1024, 1024),)}, {"ram_gb"}),
        ({"image_gb": 5.0}, {"docker_gb"}),
    ],
)
def test_a_larger_run_needs_more(larger: dict[str, object], amounts: set[str]) -> None:
    """Of that which it is larger in, and of nothing else."""
    small, large = estimate(RUN), estimate(replace(RUN, **larger))  # type: ignore[arg-type]
    grown = {
        name for name in Need.__dataclass_fields__ if name != "why" and getattr(large, name) > getattr(small, name)
    }
    assert grown == amounts


def test_a_gpu_takes_the_patches_and_the_loaders_take_shared_memory() -> None:
    """RAM holds the loaders then, and the volumes where a profile keeps them."""
    on_gpu = replace(RUN, on_gpu=True, workers=8)
    need = estimate(on_gpu)
    assert need.gpu_gb > 0
    assert need.shared_memory_gb == pytest.approx(8 * 2 * 2 * 12 * 64 * 64 * 6 / GB)
    assert training_ram_gb(replace(on_gpu, workers=0)) < training_ram_gb(on_gpu)
    assert training_ram_gb(replace(on_gpu, keeps_volumes=True)) > training_ram_gb(on_gpu)
    assert estimate(RUN).gpu_gb == estimate(RUN).shared_memory_gb == 0


def test_a_smaller_micro_batch_and_more_processes_share_the_patches() -> None:
    """The batch decides the result, not the memory."""
    run = replace(RUN, batch_size=8, micro_batch=8)
    assert training_ram_gb(replace(run, micro_batch=1)) < training_ram_gb(run)
    assert training_ram_gb(replace(run, processes=2)) < 2 * training_ram_gb(run)


def test_the_why_names_what_is_largest() -> None:
    """The setting to change."""
    assert estimate(replace(RUN, volumes=())).why == "1 cell at a time, patches of 12×64×64, filters up to 128"
    assert estimate(RUN).why.startswith("1 cell") or "evaluate" in estimate(RUN).why
    assert estimate(replace(RUN, volumes=((400, 1024, 1024),))).why == "evaluate of a volume of 400×1024×1024"


def test_the_need_counts_above_the_floor() -> None:
    """Whichever is larger, with what it follows from."""
    need = Need(ram_gb=3.5, why="a patch")
    assert need.least(1, "ram_gb") == (3.5, "a patch")
    assert need.least(4, "ram_gb") == (4, "")


def test_a_run_s_shape_is_read_from_params_and_the_profile() -> None:
    """Of a project without a training there is none."""
    training = {"patch_voxels": [8, 32, 32], "filters": [4, 8, 16], "batch_size": 4, "losses": ["a", "b"], "folds": [0]}
    compute = Compute(micro_batch=2, workers=3, device="auto")
    run = run_shape({"training": training}, Volumes(shapes=((1, 2, 3),), unmade_voxels=6), compute)
    assert run is not None
    assert (run.micro_batch, run.workers, run.on_gpu, run.cells, run.volumes) == (2, 3, True, 2, ((1, 2, 3),))
    assert run_shape({"toy": {}}, Volumes(shapes=(), unmade_voxels=0), compute) is None


def write_npy(file: Path, shape: str) -> None:
    file.parent.mkdir(parents=True)
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".encode()
    file.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)


def test_volumes_are_those_that_preprocess_made(tmp_path: Path) -> None:
    """Their headers say how large they are; there is nothing left to make."""
    write_npy(tmp_path / "data/processed/a/image.npy", "(3, 4, 5)")
    write_npy(tmp_path / "data/processed/b/image.npy", "(7,)")
    assert find_volumes(tmp_path, {}) == Volumes(shapes=((3, 4, 5),), unmade_voxels=0)
    (tmp_path / "other").write_bytes(b"text")
    assert npy_shape(tmp_path / "other") is None


def test_volumes_are_those_that_ingest_found_valid(tmp_path: Path) -> None:
    """Before preprocess ran: as large as it will resample them, as many as it will take."""
    (tmp_path / "data/raw").mkdir(parents=True)
    head = "id,shape_z,shape_y,shape_x,spacing_z_um,spacing_y_um,spacing_x_um\n"
    (tmp_path / "data/raw/volumes.csv").write_text(head + "a,10,20,20,4,1,1\nb,1,2,3,1,1,1\n")
    resampled = {"preprocess": {"resample_to_um": [1, 1, 1], "max_volumes": 1}}
    assert find_volumes(tmp_path, {"preprocess": {}}).shapes == ((10, 20, 20), (1, 2, 3))
    assert find_volumes(tmp_path, resampled) == Volumes(shapes=((40, 20, 20),), unmade_voxels=16000)
    (tmp_path / "data/raw/volumes.csv").write_text("other,table\n1,2\n")
    assert find_volumes(tmp_path, {}).shapes == ()


def test_volumes_of_a_url_are_not_known(tmp_path: Path) -> None:
    """Then the floors of configs/preflight.yaml count."""
    params = json.loads('{"ingest": {"source": "s3://bucket/a"}}')
    assert find_volumes(tmp_path, params) == Volumes(shapes=(), unmade_voxels=0)
