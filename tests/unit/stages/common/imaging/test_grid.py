"""Resampling: grid sizes by arithmetic, values against scipy's blur and interpolation."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates
from skimage.transform import resize

from stages.common.imaging.grid import grid_for, resample


def by_scipy(image: NDArray[np.generic], shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Blur coarser axes with σ = (factor - 1) / 2 voxels, then interpolate linearly at the new centres."""
    factors = [old / new for old, new in zip(image.shape, shape, strict=True)]
    sigmas = [max(0.0, (factor - 1) / 2) for factor in factors]
    blurred = gaussian_filter(image.astype(np.float64), sigmas, mode="nearest")
    centres = [(np.arange(new) + 0.5) * factor - 0.5 for new, factor in zip(shape, factors, strict=True)]
    return map_coordinates(blurred, np.meshgrid(*centres, indexing="ij"), order=1, mode="nearest")


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize(
    "shape", [(9, 20, 17), (9, 8, 31), (4, 20, 17), (21, 33, 6), (3, 7, 40), (1, 1, 1)], ids=lambda shape: str(shape)
)
def test_values_are_blurred_where_coarser_and_linear_in_between(shape: tuple[int, int, int], dtype: str) -> None:
    """Each axis has its own factor, the edge is repeated outwards, and the result is always float32."""
    image = np.random.default_rng(4).integers(0, 250, (9, 20, 17)).astype(dtype)
    found = resample(image, shape)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, by_scipy(image, shape), atol=250 * 1e-6)


@pytest.mark.parametrize("shape", [(9, 8, 31), (4, 20, 17), (21, 33, 6), (1, 1, 1)], ids=str)
def test_values_are_scikit_image_s_to_the_last_bit(shape: tuple[int, int, int]) -> None:
    """Earlier versions resampled with scikit-image: networks that they trained see what they saw."""
    image = np.random.default_rng(6).normal(100, 4000, (9, 20, 17))
    options: dict[str, object] = {"order": 1, "mode": "edge", "anti_aliasing": True, "preserve_range": True}
    np.testing.assert_array_equal(resample(image, shape), resize(image.astype(np.float32), shape, **options))


def test_a_single_slice_may_be_resampled_by_itself() -> None:
    """A slice is resampled as part of a stack with unchanged depth would be."""
    plane = np.random.default_rng(5).random((20, 17), dtype=np.float32)
    np.testing.assert_array_equal(resample(plane, (8, 31)), resample(plane[None], (1, 8, 31))[0])


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_stripes_finer_than_the_grid_become_even_grey(axis: int) -> None:
    """One-voxel stripes on a grid three times coarser: without anti-aliasing they would turn into wide stripes."""
    stripes = np.moveaxis(np.broadcast_to(np.arange(36) % 2, (6, 6, 36)), 2, axis)
    shape = tuple(12 if each == axis else 6 for each in range(3))
    inside = np.moveaxis(resample(stripes, shape), axis, 0)[2:-2]  # at the ends the edge is repeated
    np.testing.assert_allclose(inside, 0.5, atol=0.02)


def test_the_grid_is_the_nearest_whole_number_of_voxels() -> None:
    """Rounded up or down; the spacing is extent / voxels."""
    shape, spacing_um = grid_for((10, 100, 90), (2.0, 0.5, 1.0), (3.0, 0.8, 1.3))
    assert shape == (7, 62, 69)  # 6.67, 62.5 (to the even neighbour) and 69.2 voxels
    assert spacing_um == pytest.approx((20 / 7, 50 / 62, 90 / 69))


def test_without_a_spacing_to_reach_the_grid_stays() -> None:
    """Shape and spacing come back unchanged."""
    assert grid_for((15, 512, 300), (5.0, 0.994, 0.621), None) == ((15, 512, 300), (5.0, 0.994, 0.621))


def test_an_axis_may_be_left_without_a_voxel() -> None:
    """Its spacing is infinite; refusing it is up to the caller."""
    assert grid_for((1, 10, 10), (1.0, 1.0, 1.0), (5.0, 2.0, 0.5)) == ((0, 5, 20), (math.inf, 2.0, 0.5))
