"""Normalisation against numpy's formulas, with and without constant frames."""

from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from stages.common.errors import DataError
from stages.common.imaging.normalise import apply_scale, imaged_part, measure_scale
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


def test_zscore_survives_a_large_offset() -> None:
    """A camera's offset far above the signal costs no digits: nothing is squared before the mean is off."""
    image = noise("float64") + 1e9
    found = normalise(image, make_recipe("zscore")).astype(np.float64)
    assert found.mean() == pytest.approx(0, abs=1e-6)
    assert found.std() == pytest.approx(1, rel=1e-6)


def test_none_is_a_cast() -> None:
    """Intensities stay what they are."""
    image = noise("uint16")
    np.testing.assert_array_equal(normalise(image, make_recipe("none")), image.astype(np.float32))


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


@pytest.mark.parametrize("method", ["percentile", "zscore"])
def test_no_contrast_is_refused(method: Literal["percentile", "zscore"]) -> None:
    """A stack that holds one value cannot be scaled, and the error says why and what to do."""
    with pytest.raises(DataError, match="no contrast"):
        measure_scale(np.full((3, 8, 8), 9, dtype=np.uint8), make_recipe(method))


def test_percentiles_that_fall_together_are_refused() -> None:
    """A stack with fewer bright voxels than the upper percentile leaves out is named as such."""
    image = np.zeros((10, 40, 40), dtype=np.uint8)
    image[:, 0, 0] = image[:, -1, -1] = 200
    with pytest.raises(DataError, match=r"percentiles 0\.5 and 99\.5 are both 0"):
        measure_scale(image, make_recipe())


def test_a_value_beyond_32_bits_is_refused() -> None:
    """No infinity reaches the network."""
    image = noise("float64")
    image[0, 0, 0] = 1e300
    with pytest.raises(DataError, match="32-bit"):
        normalise(image, make_recipe("none"))
