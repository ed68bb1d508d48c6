"""Percentiles of a stream against numpy's of the whole."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from stages.common.imaging.intensities.normalise import measure_scale
from stages.common.imaging.intensities.percentiles import percentiles
from stages.common.imaging.recipe import Recipe
from stages.common.tiling.volume import DiskVolume

DTYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float16", "float32", "float64", ">u2", ">f4")


@settings(max_examples=150, deadline=None, derandomize=True)
@given(data=st.data(), dtype=st.sampled_from(DTYPES), ends=st.lists(st.floats(0, 100), min_size=1, max_size=3))
def test_equal_to_numpy_to_the_last_bit(data: st.DataObject, dtype: str, ends: list[float]) -> None:
    """Every type, any values, cut into parts anywhere: what numpy says about the whole."""
    sizes = data.draw(st.lists(st.integers(1, 30), min_size=1, max_size=4))
    elements = {"allow_nan": False, "allow_infinity": False} if np.dtype(dtype).kind == "f" else {}
    narrow = {"min_value": -100, "max_value": 100} if np.dtype(dtype).kind != "u" else {}
    strategy = arrays.from_dtype(np.dtype(dtype), **elements, **narrow)
    parts = [data.draw(arrays.arrays(dtype, size, elements=strategy)) for size in sizes]
    whole = np.concatenate(parts)
    expected = np.percentile(whole.astype(whole.dtype.newbyteorder("=")), ends)
    assert percentiles(lambda: iter(parts), ends) == [float(value) for value in expected]


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_a_large_sample_is_exact(dtype: str) -> None:
    """A million intensities, as a microscope has them."""
    whole = np.random.default_rng(0).gamma(2, 900, (16, 256, 256)).astype(dtype)
    found = percentiles(lambda: iter(whole), [0.5, 99.5])
    assert found == [float(value) for value in np.percentile(whole, [0.5, 99.5])]


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "int64"])
def test_between_integers_that_are_far_apart_nothing_overflows(dtype: str) -> None:
    """The middle of the lowest and the highest value of a signed dtype is -0.5; numpy's own answer is outside."""
    ends = np.array([np.iinfo(dtype).min, np.iinfo(dtype).max], dtype=dtype)
    (middle,) = percentiles(lambda: iter([ends]), [50]) or [np.nan]
    assert abs(middle + 0.5) <= 0.5  # 64 bits are more than a float holds


def test_nothing_has_no_percentiles() -> None:
    """No part at all."""
    assert percentiles(lambda: iter(()), [50]) is None


@pytest.mark.parametrize("method", ["percentile", "zscore", "none"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "bool"])
def test_a_volume_on_the_disk_has_the_scale_of_the_array(tmp_path: Path, method: str, dtype: str) -> None:
    """predict, which reads from the disk, and preprocess, which reads an array, scale alike, to the last bit."""
    stack = (
        np.random.default_rng(3).gamma(2, 20, (5, 30, 40)).clip(0, 250).astype(dtype if dtype != "bool" else "uint8")
    )
    stack = stack > 40 if dtype == "bool" else stack
    stack[:, :4] = 0  # a frame
    recipe = Recipe(normalisation=method, percentile_low=1, percentile_high=99, resample_to_um=None)
    with DiskVolume(tmp_path / "volume", stack.shape, stack.dtype) as volume:
        assert measure_scale(volume.append(iter(stack)), recipe) == measure_scale(stack, recipe)
