"""One volume: what lies on the disk afterwards, and what it costs."""

import dataclasses
import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
import tifffile

from stages.common.errors import CapillaryError, DataError, ExitCode
from stages.common.imaging.grid import resample
from stages.common.imaging.masks.skeleton import skeleton as skeleton_of
from stages.preprocess.prepare import Task, prepare
from tests.support.memory import little_memory
from tests.unit.stages.preprocess.tiny_tasks import make_task


def test_arrays_are_what_the_stack_says(tmp_path: Path) -> None:
    """float32 image by the percentile formula, uint8 label {0, 1}, its skeleton, its share and three checksums."""
    task = make_task(tmp_path)
    done = prepare(task)
    stack, marked = tifffile.imread(task.raw.image).astype(float), tifffile.imread(task.raw.label)
    image, label, skeleton = (
        np.load(task.folder / f"{name}.npy", mmap_mode="r") for name in ("image", "label", "skeleton")
    )
    low, high = np.percentile(stack, [0.5, 99.5])
    np.testing.assert_allclose(image, np.clip((stack - low) / (high - low), 0, 1), rtol=1e-6)
    np.testing.assert_array_equal(label, marked == 255)
    np.testing.assert_array_equal(skeleton, skeleton_of(label > 0))
    assert (image.dtype, label.dtype, skeleton.dtype) == (np.float32, np.uint8, np.uint8)
    assert image.flags.c_contiguous
    assert done.foreground_share == (marked > 0).mean()
    for name in ("image", "label", "skeleton"):
        content = (task.folder / f"{name}.npy").read_bytes()
        assert getattr(done.checksums, name) == hashlib.sha256(content).hexdigest()


def test_a_resampled_volume_has_the_planned_grid(tmp_path: Path) -> None:
    """All three arrays have the new shape; the share is that of the resampled label."""
    task = make_task(tmp_path, resample_to_um=(2.0, 1.5, 1.0))
    done = prepare(task)
    arrays = {name: np.load(task.folder / f"{name}.npy") for name in ("image", "label", "skeleton")}
    assert {array.shape for array in arrays.values()} == {(12, 20, 32)}
    assert done.foreground_share == arrays["label"].mean()
    assert arrays["image"][arrays["label"] > 0].mean() > 4 * arrays["image"][arrays["label"] == 0].mean()
    assert ((arrays["skeleton"] > 0) <= (arrays["label"] > 0)).all()


def test_a_resampled_volume_keeps_its_own_label(tmp_path: Path) -> None:
    """As it came, with its checksum, and the number of parts that resampling loses; elsewhere there is no such file."""
    task = make_task(tmp_path, resample_to_um=(4.0, 3.0, 3.0))
    marked = tifffile.imread(task.raw.label)
    marked[0, 0, 0] = 255  # a part of one voxel
    tifffile.imwrite(task.raw.label, marked, photometric="minisblack")
    done = prepare(task)
    file = task.folder / "native_label.npy"
    np.testing.assert_array_equal(np.load(file), marked == 255)
    assert done.checksums.native_label == hashlib.sha256(file.read_bytes()).hexdigest()
    assert (done.parts, done.lost_parts) == (2, 1)
    plain = make_task(tmp_path, "plain")
    done = prepare(plain)
    assert (done.checksums.native_label, done.parts, done.lost_parts) == ("", 0, 0)
    assert not (plain.folder / "native_label.npy").exists()


@pytest.mark.parametrize("normalisation", ["percentile", "zscore"])
def test_the_scale_is_that_of_the_recorded_voxels(tmp_path: Path, normalisation: str) -> None:
    """The scale of a resampled image is measured on the recorded voxels, not on interpolated ones."""
    task = make_task(tmp_path, resample_to_um=(8.0, 2.0, 2.0), normalisation=normalisation)
    prepare(task)
    stack = tifffile.imread(task.raw.image).astype(np.float64)
    coarse = resample(stack, task.shape_zyx).astype(np.float64)
    if normalisation == "zscore":
        expected = (coarse - stack.mean()) / stack.std()
        again = (coarse - coarse.mean()) / coarse.std()
    else:
        expected, again = (
            np.clip((coarse - low) / (high - low), 0, 1)
            for low, high in (np.percentile(some, [0.5, 99.5]) for some in (stack, coarse))
        )
    np.testing.assert_allclose(np.load(task.folder / "image.npy"), expected, atol=1e-5)
    assert np.abs(expected - again).max() > 0.1


def test_work_goes_with_the_larger_grid(tmp_path: Path) -> None:
    """A task's size is that of the native or the new grid, whichever is larger."""
    finer = make_task(tmp_path, "finer", (6, 30, 32), resample_to_um=(2.0, 1.0, 1.0))
    coarser = make_task(tmp_path, "coarser", (6, 30, 32), resample_to_um=(4.0, 2.0, 2.0))
    assert (finer.voxels, coarser.voxels) == (12 * 30 * 32, 6 * 30 * 32)


def test_a_stack_that_memory_does_not_hold_is_not_called_damaged(tmp_path: Path) -> None:
    """The volume's name, and what helps: fewer volumes at a time, or a larger machine."""
    task = make_task(tmp_path)
    tifffile.memmap(task.raw.image, shape=(256, 1024, 1024), dtype="uint8", photometric="minisblack")
    with little_memory(), pytest.raises(CapillaryError, match="volume stack: does not fit into memory") as refused:
        prepare(task)
    assert refused.value.code == ExitCode.MACHINE
    assert "CAPILLARY_WORKERS=1" in refused.value.remedy
    assert refused.value.value == "5,760 voxels"


def test_a_stack_that_is_not_the_listed_one_is_refused(tmp_path: Path) -> None:
    """A file exchanged in data/raw is named with both shapes."""
    task = make_task(tmp_path)
    changed = dataclasses.replace(task, raw=dataclasses.replace(task.raw, shape_zyx=(6, 30, 33)))
    with pytest.raises(DataError, match="volume stack: the stack is not the one") as caught:
        prepare(changed)
    assert caught.value.value == "(6, 30, 32) instead of (6, 30, 33)"
    assert caught.value.file == task.raw.image


def test_no_contrast_names_volume_and_file(tmp_path: Path) -> None:
    """The error of the normalisation says whose it is."""
    task = make_task(tmp_path)
    tifffile.imwrite(task.raw.image, np.full(task.raw.shape_zyx, 5, dtype=np.uint8))
    with pytest.raises(DataError, match=r"volume stack: .*no contrast") as caught:
        prepare(task)
    assert caught.value.file == task.raw.image
    assert "preprocess.normalisation" in caught.value.remedy
    assert not (task.folder / "label.npy").exists()


def test_a_value_that_cannot_be_normalised_is_shown(tmp_path: Path) -> None:
    """The error of the normalisation keeps its value."""
    task = make_task(tmp_path, normalisation="none")
    stack = np.zeros(task.raw.shape_zyx)
    stack[2, 3, 4] = 1e300
    tifffile.imwrite(task.raw.image, stack, photometric="minisblack")
    with pytest.raises(DataError, match=r"volume stack: .*32-bit") as caught:
        prepare(task)
    assert caught.value.value == 1e300


def test_a_label_lost_in_resampling_is_refused(tmp_path: Path) -> None:
    """A thin vessel on a coarse grid does not vanish in silence."""
    task = make_task(tmp_path, resample_to_um=(4.0, 30.0, 32.0))
    label = np.zeros(task.raw.shape_zyx, dtype=np.uint8)
    label[3, 10, :] = 255
    tifffile.imwrite(task.raw.label, label, photometric="minisblack")
    with pytest.raises(DataError, match="volume stack: resampling left no labelled voxel") as caught:
        prepare(task)
    assert (caught.value.file, caught.value.value) == (task.raw.label, (4.0, 30.0, 32.0))


def _peak_bytes(task: Task) -> int:
    """Most memory that a process used which did nothing but this task."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            prepare(task)
            code = 0
        finally:
            os._exit(code)  # whatever happens, the copy of the test run ends here
    _, status, usage = os.wait4(child, 0)
    assert status == 0
    return usage.ru_maxrss * 1024


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork to measure a process of its own")
@pytest.mark.parametrize(
    ("dtype", "spacing_um", "bytes_a_voxel"),
    [("uint8", None, 10), ("float32", None, 14), ("uint8", (2.0, 1.0, 1.0), 20)],
)
def test_memory_goes_with_the_volume(
    tmp_path: Path, dtype: str, spacing_um: tuple[float, float, float] | None, bytes_a_voxel: int
) -> None:
    """From one size to another the peak grows by a known number of bytes a voxel of the larger grid, no more."""
    small, large = (
        make_task(tmp_path, name, shape=(slices, 256, 256), dtype=dtype, resample_to_um=spacing_um)
        for name, slices in (("small", 16), ("large", 48))
    )
    growth = _peak_bytes(large) - _peak_bytes(small)
    assert growth <= bytes_a_voxel * (large.voxels - small.voxels)
