"""Resampling: geometry against analytic fields, sizes against arithmetic."""

from pathlib import Path

import numpy as np
import pytest

from stages.common.errors import ParamsError
from stages.common.imaging.grid import resample
from stages.preprocess.raw import RawVolume
from stages.preprocess.resample import lost_parts, resample_label, target_grid


def make_raw(shape: tuple[int, int, int], spacing: tuple[float, float, float]) -> RawVolume:
    """A stack's row of the table, without its files."""
    return RawVolume(
        id="stack", group="g", image=Path("i"), label=Path("l"), shape_zyx=shape, spacing_um=spacing, content=""
    )


def test_native_resolution_stays_as_it_is() -> None:
    """null changes neither shape nor spacing, not even in the last bit."""
    raw = make_raw((15, 512, 512), (5.0, 0.994, 0.994))
    assert target_grid(raw, None) == (raw.shape_zyx, raw.spacing_um)


def test_the_new_spacing_is_the_true_one() -> None:
    """Whole numbers of voxels over the same extent: spacing is extent / voxels, near what was asked for."""
    raw = make_raw((15, 512, 300), (5.0, 0.994, 0.621))
    shape, spacing = target_grid(raw, (2.0, 1.5, 0.7))
    assert shape == (38, 339, 266)
    np.testing.assert_allclose(np.multiply(shape, spacing), np.multiply(raw.shape_zyx, raw.spacing_um))
    assert spacing == pytest.approx((2.0, 1.5, 0.7), rel=0.02)


@pytest.mark.parametrize("shape", [(12, 30, 33), (6, 20, 22), (18, 15, 11), (9, 17, 40)])
def test_a_linear_field_keeps_its_place(shape: tuple[int, int, int]) -> None:
    """Voxels are cells, first and last edges stay where they were: a ramp in space is the same ramp afterwards."""

    def ramp(size: tuple[int, int, int]) -> np.ndarray:
        z, y, x = ((np.arange(n) + 0.5) / n for n in size)
        return z[:, None, None] + 2 * y[:, None] + 3 * x

    found = resample(ramp((9, 20, 22)).astype(np.float32), shape)
    assert found.dtype == np.float32
    inside = tuple(slice(n // 4, n - n // 4) for n in shape)  # the edge is held, the ramp goes on
    np.testing.assert_allclose(found[inside], ramp(shape)[inside], atol=0.02)


def test_linear_interpolation_does_not_overshoot() -> None:
    """No value beyond the stack's own, beside whatever step."""
    image = (np.random.default_rng(0).random((5, 20, 20)) > 0.8).astype(np.uint8) * 200
    found = resample(image, (12, 33, 9))
    assert found.min() >= 0
    assert found.max() <= 200


@pytest.mark.parametrize("shape", [(20, 60, 60), (10, 20, 25), (27, 41, 90)])
def test_a_label_keeps_its_form(shape: tuple[int, int, int]) -> None:
    """A tube's share of the volume and its centre stay, finer or coarser; values stay {0, 1}."""
    y, x = np.mgrid[:40, :40] + 0.5
    tube = np.broadcast_to((y - 18) ** 2 + (x - 22) ** 2 < 64, (10, 40, 40)).astype(np.uint8)
    found = resample_label(tube, shape)
    assert found.dtype == np.uint8
    assert set(np.unique(found)) == {0, 1}
    assert found.mean() == pytest.approx(tube.mean(), rel=0.06)
    centre = (np.argwhere(found) + 0.5).mean(axis=0) / shape
    assert centre == pytest.approx((0.5, 18 / 40, 22 / 40), abs=0.01)


def test_lost_parts_are_counted() -> None:
    """A thick vessel stays, lines of one voxel vanish between coarser ones; parts that grow together are not lost."""
    label = np.zeros((8, 48, 48), dtype=np.uint8)
    label[2:6, 4:16, 4:44] = 1
    for y in (21, 27, 33):
        label[3, y, 4:44] = 1
    coarse = resample_label(label, (8, 12, 12))
    assert coarse[:, 5:].sum() == 0
    assert lost_parts(label, coarse) == (4, 3)
    assert lost_parts(label, label) == (4, 0)
    two = np.zeros((1, 12, 12), dtype=np.uint8)
    two[0, 2:4, :] = two[0, 5:7, :] = 1
    assert lost_parts(two, np.ones((1, 6, 6), dtype=np.uint8)) == (2, 0)
    assert lost_parts(two, resample_label(two, (3, 31, 29))) == (2, 0)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_half_is_vessel(axis: int) -> None:
    """From two voxels to three, the middle one interpolates to exactly 0.5 and counts as vessel."""
    edge = np.zeros((2, 2, 2), dtype=np.uint8)
    np.moveaxis(edge, axis, 0)[1] = 1
    z, y, x = (3 if each == axis else 2 for each in range(3))
    assert np.moveaxis(resample(edge, (z, y, x)), axis, 0)[:, 0, 0].tolist() == [0, 0.5, 1]
    assert np.moveaxis(resample_label(edge, (z, y, x)), axis, 0)[:, 0, 0].tolist() == [0, 1, 1]


def test_a_resampling_that_would_fill_the_memory_is_refused() -> None:
    """The error names the voxels, the GB and the key before anything is computed."""
    raw = make_raw((61, 512, 512), (5.0, 4.97, 4.97))
    with pytest.raises(ParamsError) as caught:
        target_grid(raw, (0.5, 0.5, 0.5))
    report = caught.value.report()
    assert "15,797,731,810 voxels, 94.8 GB (988 times the native stack)" in report
    assert "61 × 512 × 512 becomes " in report
    assert "preprocess.resample_to_um" in report
    assert "volume stack" in report


def test_a_volume_of_exactly_the_bound_is_made() -> None:
    """536,870,912 voxels pass; one more slice does not."""
    assert target_grid(make_raw((512, 512, 1024), (1.0, 1.0, 1.0)), (1.0, 0.5, 1.0))[0] == (512, 1024, 1024)
    with pytest.raises(ParamsError, match="would make"):
        target_grid(make_raw((513, 512, 1024), (1.0, 1.0, 1.0)), (1.0, 0.5, 1.0))


def test_a_native_stack_beyond_the_bound_may_still_be_coarsened() -> None:
    """The bound is against growth: what is large already is its owner's decision."""
    raw = make_raw((2000, 1024, 1024), (1.0, 1.0, 1.0))
    assert target_grid(raw, (1.0, 1.0, 1.25))[0] == (2000, 1024, 819)
    assert target_grid(raw, (1.0, 1.0, 1.0))[0] == raw.shape_zyx
    with pytest.raises(ParamsError, match="would make"):
        target_grid(raw, (1.0, 1.0, 0.99))


def test_a_target_coarser_than_the_stack_is_refused() -> None:
    """Every axis keeps at least one voxel; nm instead of µm is the usual cause."""
    raw = make_raw((10, 100, 100), (5.0, 1.0, 1.0))
    assert target_grid(raw, (50.0, 1.0, 1.0))[0] == (1, 100, 100)
    with pytest.raises(ParamsError, match="leaves no voxel") as caught:
        target_grid(raw, (5000.0, 1.0, 1.0))
    assert caught.value.value == "10 × 100 × 100 voxels of [5.0, 1.0, 1.0] µm"
