"""The preprocess stage as the launcher starts it: a folder with its deps and its own process."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
import tifffile

from stages.common.errors import ExitCode
from stages.common.imaging.volumes import fold_split, read_manifest
from tests.support.parts import REAL_STACKS, REPOSITORY, require
from tests.support.stacks.preprocess_sandbox import Sandbox, add_large, digest

PHANTOM = REPOSITORY / "samples" / "phantom"


@pytest.fixture
def empty(tmp_path: Path) -> Sandbox:
    """No stacks yet."""
    return Sandbox(tmp_path / "sandbox")


@pytest.fixture
def phantoms(empty: Sandbox) -> Sandbox:
    """The eight synthetic stacks of six animals."""
    empty.add_source(PHANTOM)
    return empty


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Sandbox, str]:
    """The same, prepared by two workers under the shipped params; nobody changes it. And what was printed."""
    box = Sandbox(tmp_path_factory.mktemp("finished") / "sandbox")
    box.add_source(PHANTOM)
    return box, box.succeed(workers=2)


def test_phantoms_become_volumes_and_folds(finished: tuple[Sandbox, str]) -> None:
    """All stacks arrive, labels voxel for voxel, one line of progress each, three folds without a split animal."""
    phantoms, output = finished
    volumes = read_manifest(phantoms.processed)
    assert [volume.id for volume in volumes] == [f"phantom_{number:02}" for number in range(1, 9)]
    for volume in volumes:
        marked = tifffile.imread(PHANTOM / "labels" / f"{volume.id}_label.tif")
        np.testing.assert_array_equal(volume.label(), marked > 0)
        assert volume.image().min() == 0
        assert volume.image().max() == 1
        assert 0 < volume.skeleton().sum() < volume.label().sum()
        assert output.count(f"/8 {volume.id} ") == 1
    for fold in range(3):
        train, validation = fold_split(phantoms.processed, fold)
        assert len(train) + len(validation) == 8
        assert not {volume.group for volume in train} & {volume.group for volume in validation}
        assert {volume.fold for volume in validation} == {fold}


def test_outputs_repeat_byte_for_byte(phantoms: Sandbox, finished: tuple[Sandbox, str]) -> None:
    """Another run, another number of workers, another order of rows: the same files, manifest and splits included."""
    first = finished[0].digests()
    assert len(first) == 8 * 3 + 3
    table = phantoms.root / "data" / "raw" / "volumes.csv"
    header, *rows = table.read_text().splitlines()
    table.write_text("\n".join([header, *reversed(rows)]) + "\n")
    phantoms.succeed(workers=1)
    assert phantoms.digests() == first


def test_the_manifest_s_checksums_are_those_of_the_files(finished: tuple[Sandbox, str]) -> None:
    """`sha256sum data/processed/*/image.npy` gives what manifest.parquet lists."""
    phantoms, _ = finished
    table = pd.read_parquet(phantoms.processed / "manifest.parquet").set_index("id")
    for name in table.index:
        for array in ("image", "label", "skeleton"):
            assert table.loc[name, f"{array}_sha256"] == digest(phantoms.processed / name / f"{array}.npy")


def test_the_written_splits_can_be_given_back(phantoms: Sandbox, finished: tuple[Sandbox, str]) -> None:
    """splits.json as configs/splits/mine.json gives the same folds, whatever the seed; four workers, too."""
    written = finished[0].processed / "splits.json"
    shutil.copy(written, phantoms.root / "configs" / "splits" / "mine.json")
    phantoms.set(splits_file="configs/splits/mine.json", seed=99)
    phantoms.succeed(workers=4)
    assert phantoms.digests() == finished[0].digests()


def test_an_explicit_split_is_honoured(phantoms: Sandbox) -> None:
    """nnU-Net's bare list: a volume may always train, and may sit out a fold; animals on both sides are told."""
    names = [f"phantom_{number:02}" for number in range(1, 9)]
    phantoms.split([{"train": names[1:], "val": names[:1]}, {"train": names[:1], "val": names[1:3]}])
    phantoms.set(splits_file="configs/splits/mine.json", num_folds=2)
    output = phantoms.succeed()
    assert "warning: fold 0" in output
    assert "animal_a" in output
    train, validation = fold_split(phantoms.processed, 1)
    assert [volume.id for volume in train] == names[:1]
    assert [volume.id for volume in validation] == names[1:3]
    assert [volume.fold for volume in read_manifest(phantoms.processed)] == [0, 1, 1, -1, -1, -1, -1, -1]


def test_resampling_gives_a_common_spacing(phantoms: Sandbox, finished: tuple[Sandbox, str]) -> None:
    """Spacings in the manifest are the true ones, near the target; extents stay."""
    native = read_manifest(finished[0].processed)
    phantoms.set(resample_to_um=[2, 1.5, 1.5], normalisation="zscore")
    phantoms.succeed()
    for before, after in zip(native, read_manifest(phantoms.processed), strict=True):
        assert after.spacing_um == pytest.approx((2, 1.5, 1.5), rel=0.05)
        np.testing.assert_allclose(
            np.multiply(after.shape_zyx, after.spacing_um), np.multiply(before.shape_zyx, before.spacing_um)
        )
        assert after.foreground_share == pytest.approx(before.foreground_share, rel=0.25)


def test_constant_frames_do_not_move_the_contrast(finished: tuple[Sandbox, str]) -> None:
    """On a stack with a frame, percentiles are those of the part inside it."""
    (framed,) = (volume for volume in read_manifest(finished[0].processed) if volume.id == "phantom_05")
    stack = tifffile.imread(PHANTOM / "images" / "phantom_05.tif")[:, 8:-8, 8:-8].astype(float)
    low, high = np.percentile(stack, [0.5, 99.5])
    np.testing.assert_allclose(
        framed.image()[:, 8:-8, 8:-8], np.clip((stack - low) / (high - low), 0, 1), rtol=1e-5, atol=1e-7
    )


@pytest.mark.parametrize("workers", [1, 2])
def test_a_disk_without_room_is_named(phantoms: Sandbox, workers: int) -> None:
    """A write that fails half-way ends with the machine's exit code and the file, from a worker too."""
    code, output = phantoms.run(workers, file_limit=200_000)
    assert code == ExitCode.MACHINE, output
    assert "image.npy" in output
    assert "Traceback" not in output


def _wait_for_workers(process: subprocess.Popen[str], count: int) -> list[psutil.Process]:
    """The stage's workers, once all of them are there and at work."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        workers = psutil.Process(process.pid).children()
        if len(workers) == count and all(worker.cpu_times().user > 0.1 for worker in workers):
            return workers
        time.sleep(0.02)
    raise AssertionError("no workers within 30 s")


@pytest.mark.parametrize("whole_group", [True, False])
def test_an_interrupt_ends_all_at_once(empty: Sandbox, whole_group: bool) -> None:
    """Ctrl-C (to all processes) and SIGINT to the stage alone: exit code 130, in silence, nothing left running."""
    add_large(empty, 4)
    process = empty.start(workers=2)
    workers = _wait_for_workers(process, 2)
    started = time.monotonic()
    if whole_group:
        os.killpg(process.pid, signal.SIGINT)
    else:
        process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=20)
    assert time.monotonic() - started < 5
    assert process.returncode == ExitCode.INTERRUPTED, output
    assert "Traceback" not in output
    assert not any(worker.is_running() for worker in workers)


def test_a_worker_that_is_killed_ends_the_stage(empty: Sandbox) -> None:
    """As the out-of-memory killer does it: the machine's exit code and what to do."""
    add_large(empty, 3)
    process = empty.start(workers=2)
    workers = _wait_for_workers(process, 2)
    workers[0].kill()
    output, _ = process.communicate(timeout=20)
    assert process.returncode == ExitCode.MACHINE, output
    assert "CAPILLARY_WORKERS=1" in output
    assert "Traceback" not in output


def test_the_six_real_stacks(empty: Sandbox) -> None:
    """Vessels are brighter than background in every normalised stack, and folds have two stacks each."""
    require(REAL_STACKS.is_dir(), "the real stacks beside the repository (../shared/datasets/vesselnn)")
    empty.add_source(REAL_STACKS)
    empty.succeed(workers=2)
    volumes = read_manifest(empty.processed)
    assert sorted(volume.fold for volume in volumes) == [0, 0, 1, 1, 2, 2]
    shares = [sum(volume.foreground_share for volume in volumes if volume.fold == fold) / 2 for fold in range(3)]
    assert max(shares) - min(shares) < 0.15
    for volume in volumes:
        image, label = volume.image(), volume.label().astype(bool)
        assert image[label].mean() > 2 * image[~label].mean()
        assert 0.01 < volume.foreground_share < 0.5
