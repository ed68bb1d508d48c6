"""Normalisation against numpy's formulas, with and without constant frames."""

from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from stages.common.errors import DataError
from stages.common.imaging.intensities.normalise import apply_scale, imaged_part, measure_scale, to_grey
from stages.common.imaging.recipe import Recipe


def make_recipe(normalisation: str = "percentile", low: float = 0.5, high: float = 99.5) -> Recipe:
    """A recipe at native resolution."""
    return Recipe(normalisation=normalisation, percentile_low=low, percentile_high=high, resample_to_um=None)


def normalise(image_zyx: NDArray[np.generic], recipe: Recipe) -> NDArray[np.float32]:
    """Measure and apply."""
    return apply_scale(image_zyx, measure_scale(image_zyx, recipe))


def noise(dtype: str, seed: int = 0, shape: tuple[int, int, int] = (4, 20, 30)) -> NDArray[np.generic]:
    """A stack without a frame."""
    return np.random.default_rng(seed).gamma(2.0, 20.0, shape).clip(0, 250).astype(dtype)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32", "float64", "bool"])
def test_percentiles_follow_the_formula(dtype: str) -> None:
    """clip((x - p_low) / (p_high - p_low), 0, 1), for every type of stack."""
    image = noise(dtype) if dtype != "bool" else noise("uint8") > 30
    low, high = np.percentile(image.astype(np.float64), [5, 95])
    expected = np.clip((image.astype(np.float64) - low) / (high - low), 0, 1)
    found = normalise(image, make_recipe(low=5, high=95))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_zscore_has_zero_mean_and_unit_variance(dtype: str) -> None:
    """(x - mean) / std of the volume, unclipped."""
    image = noise(dtype)
    wide = image.astype(np.float64)
    np.testing.assert_allclose(
        normalise(image, make_recipe("zscore")), (wide - wide.mean()) / wide.std(), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize(("dtype", "offset"), [("float64", 1e9), ("float32", 1e6)])
def test_zscore_survives_a_large_offset(dtype: str, offset: float) -> None:
    """A large camera offset costs no precision: float64 sums, and the mean is subtracted before squaring."""
    image = (noise("float64", shape=(4, 120, 200)) + offset).astype(dtype)
    found = normalise(image, make_recipe("zscore")).astype(np.float64)
    assert found.mean() == pytest.approx(0, abs=1e-6)
    assert found.std() == pytest.approx(1, rel=1e-6)


def test_none_is_a_cast() -> None:
    """Intensities stay what they are."""
    image = noise("uint16")
    np.testing.assert_array_equal(normalise(image, make_recipe("none")), image.astype(np.float32))


@settings(deadline=None, derandomize=True)
@given(
    frame=st.tuples(*[st.integers(0, 12)] * 4),
    empty_slices=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    value=st.sampled_from([0, 7, 255]),
    method=st.sampled_from(["percentile", "zscore"]),
)
def test_a_constant_frame_changes_nothing_inside(
    frame: tuple[int, int, int, int],
    empty_slices: tuple[int, int],
    value: int,
    method: Literal["percentile", "zscore"],
) -> None:
    """Padding a stack, on any sides and with whole slices, leaves the normalised stack itself bit-equal."""
    image = noise("uint8")
    top, bottom, left, right = frame
    first, last = empty_slices
    padded = np.pad(image, ((first, last), (top, bottom), (left, right)), constant_values=value)
    found = normalise(padded, make_recipe(method))
    inside = found[first : first + 4, top : top + 20, left : left + 30]
    np.testing.assert_array_equal(inside, normalise(image, make_recipe(method)))


def test_each_slice_may_be_shifted_its_own_way() -> None:
    """Motion correction leaves another gap in every slice; none of it is measured."""
    image = noise("uint8")
    shifted = np.zeros((4, 32, 42), dtype=np.uint8)
    for z, (dy, dx) in enumerate([(0, 0), (12, 3), (5, 12), (7, 0)]):
        shifted[z, dy : dy + 20, dx : dx + 30] = image[z]
    assert measure_scale(shifted, make_recipe()) == measure_scale(image, make_recipe())


def test_a_background_clipped_to_zero_is_measured() -> None:
    """Zeros among signal are signal, even where they touch the edge: percentiles are those of the whole stack."""
    image = noise("uint8")
    clipped = np.where(image < 40, 0, image).astype(np.uint8)
    assert (clipped == 0).mean() > 0.5
    assert sum(part.size for part in imaged_part(clipped)) == clipped.size


@pytest.mark.parametrize(
    ("method", "why"),
    [("percentile", r"percentiles 0\.5 and 99\.5 are both 9"), ("zscore", "the standard deviation is 0")],
)
def test_no_contrast_is_refused(method: str, why: str) -> None:
    """A stack that holds one value cannot be scaled, and the error says why and what to do."""
    with pytest.raises(DataError, match=f"no contrast.*{why}") as caught:
        measure_scale(np.full((3, 8, 8), 9, dtype=np.uint8), make_recipe(method))
    assert "preprocess.normalisation" in caught.value.remedy


def test_percentiles_that_fall_together_are_refused() -> None:
    """A stack with fewer bright voxels than the upper percentile leaves out is named as such."""
    image = np.zeros((10, 40, 40), dtype=np.uint8)
    image[:, 0, 0] = image[:, -1, -1] = 200
    with pytest.raises(DataError, match=r"percentiles 0\.5 and 99\.5 are both 0"):
        measure_scale(image, make_recipe())


@pytest.mark.parametrize("value", [1e300, -1e300])
def test_a_value_beyond_32_bits_is_refused(value: float) -> None:
    """A value in any slice that would overflow to infinity is an error, which shows the value."""
    image = noise("float64")
    image[2, 3, 4] = value
    with pytest.raises(DataError, match="32-bit") as caught:
        normalise(image, make_recipe("none"))
    assert caught.value.value == pytest.approx(1e300)


def test_the_largest_32_bit_value_is_kept() -> None:
    """The limit itself fits and passes."""
    largest = float(np.finfo(np.float32).max)
    image = np.array([[[-largest, 0.0, largest]]])
    np.testing.assert_array_equal(normalise(image, make_recipe("none")), image)


@pytest.mark.parametrize("shape", [(1, 1, 40), (1, 40, 1)])
def test_a_slice_one_voxel_wide_has_no_frame(shape: tuple[int, int, int]) -> None:
    """An edge of a single voxel does not count as constant: the whole slice is measured."""
    image = noise("uint8", shape=shape)
    image.flat[:3] = image.flat[0]
    assert [part.shape for part in imaged_part(image)] == [shape[1:]]


def test_a_frame_may_be_as_short_as_two_voxels() -> None:
    """Constant columns at the side of a slice two voxels high are cut."""
    image = np.arange(80, dtype=np.uint8).reshape(1, 2, 40)
    image[:, :, :3] = 200
    (part,) = imaged_part(image)
    np.testing.assert_array_equal(part, image[0, :, 3:])


@pytest.mark.parametrize("fill", [0.0, 5.0])
def test_a_picture_without_contrast_is_black(fill: float) -> None:
    """No division by zero."""
    assert not to_grey(np.full((3, 3), fill, dtype=np.float32)).any()
