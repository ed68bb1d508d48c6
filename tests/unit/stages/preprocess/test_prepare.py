"""One volume: what lies on the disk afterwards, and what it costs."""

import dataclasses
import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
import tifffile
from scipy import ndimage

from stages.common.errors import CapillaryError, DataError, ExitCode
from stages.common.imaging.grid import resample
from stages.preprocess.prepare import Task, prepare, skeleton_of
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
    np.testing.assert_array_equal(skeleton, skeleton_of(label))
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


def _pieces(mask: np.ndarray) -> int:
    return int(ndimage.label(mask, np.ones((3, 3, 3)))[1])


def _neighbours(skeleton: np.ndarray) -> np.ndarray:
    """Neighbours of each skeleton voxel that are skeleton too."""
    counts = ndimage.convolve(skeleton.astype(int), np.ones((3, 3, 3), dtype=int), mode="constant") - 1
    return np.asarray(counts[skeleton > 0])


def _tube(shape: tuple[int, int, int], path_zyx: np.ndarray, radius: float) -> np.ndarray:
    grid = np.stack(np.mgrid[: shape[0], : shape[1], : shape[2]], axis=-1)
    tube = np.zeros(shape, dtype=np.uint8)
    for point in path_zyx:
        tube |= (((grid - point) ** 2).sum(axis=-1) <= radius**2).astype(np.uint8)
    return tube


def test_the_skeleton_of_a_tube_is_its_axis() -> None:
    """One curve with two ends, one voxel thick, on the tube's axis."""
    path = np.stack([np.full(61, 8.0), np.full(61, 10.0), np.linspace(6, 42, 61)], axis=1)
    tube = _tube((17, 21, 49), path, radius=4)
    skeleton = skeleton_of(tube)
    assert skeleton.dtype == np.uint8
    assert set(np.unique(skeleton)) == {0, 1}
    assert _pieces(skeleton) == 1
    assert sorted(_neighbours(skeleton))[:2] == [1, 1]
    assert set(sorted(_neighbours(skeleton))[2:]) == {2}
    places = np.argwhere(skeleton)
    assert np.abs(places[:, 0] - 8).max() <= 1
    assert np.abs(places[:, 1] - 10).max() <= 1
    assert np.ptp(places[:, 2]) >= 30


def test_the_skeleton_of_a_ring_is_a_closed_curve() -> None:
    """Thinning keeps topology: the hole stays, no ends appear."""
    angle = np.linspace(0, 2 * np.pi, 120, endpoint=False)
    path = np.stack([np.full(120, 6.0), 20 + 12 * np.sin(angle), 20 + 12 * np.cos(angle)], axis=1)
    skeleton = skeleton_of(_tube((13, 41, 41), path, radius=3))
    assert _pieces(skeleton) == 1
    assert set(_neighbours(skeleton)) == {2}


def test_separate_vessels_stay_separate() -> None:
    """As many skeleton pieces as label pieces, also for a flat stack of one slice."""
    label = np.zeros((1, 20, 40), dtype=np.uint8)
    label[0, 3:8, 2:38] = label[0, 12:17, 2:38] = 1
    skeleton = skeleton_of(label)
    assert skeleton.shape == label.shape
    assert _pieces(skeleton) == 2


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
