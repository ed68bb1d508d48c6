"""Every format: what other programs write is read back as it was."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from stages.common.errors import DataError
from stages.common.imaging.spacing import spacing_of
from tests.support.stacks.any_form import read_dtype, read_header, read_shape, read_slices, read_stack
from tests.unit.stages.common.imaging.foreign.written import EVERY, PRECISE, SPACING_UM, STACK


def assert_reads(path: Path, expected: NDArray[Any], channel: int | str | None = None) -> None:
    """Whole, slice by slice and without its voxels: the same shape, type and values."""
    whole = read_stack(path, channel)
    assert (whole.shape, whole.dtype) == (expected.shape, expected.dtype.newbyteorder("="))
    np.testing.assert_array_equal(whole, expected)
    np.testing.assert_array_equal(np.stack(list(read_slices(path, channel))), expected)
    assert (read_shape(path, channel), read_dtype(path, channel)) == (whole.shape, whole.dtype)


def refusal(path: Path, channel: int | str | None = None) -> DataError:
    """The error that every reader raises on `path`."""
    errors = []
    for read in (read_stack, read_header, read_shape, lambda *at: list(read_slices(*at))):
        with pytest.raises(DataError) as refused:
            read(path, channel)
        errors.append(refused.value)
    assert {error.what for error in errors} == {errors[0].what}
    assert errors[0].remedy
    return errors[0]


@pytest.mark.parametrize("name", EVERY)
def test_every_format_reads_back_as_it_was_saved(tmp_path: Path, name: str) -> None:
    """The same voxels in z, y, x, of the same type."""
    assert_reads(EVERY[name](tmp_path, STACK), STACK)


@pytest.mark.parametrize("name", PRECISE)
def test_the_spacing_is_what_the_file_says(tmp_path: Path, name: str) -> None:
    """In µm, with the field that it is from."""
    told = spacing_of(read_header(PRECISE[name](tmp_path, STACK)))
    assert told.spacing_um == pytest.approx(SPACING_UM)
    assert told.source


@settings(max_examples=6, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.parametrize("name", ["zarr_2", "zarr_3", "hdf5_gzip", "nrrd_gzip", "mha", "slices"])
@given(
    shape=st.tuples(st.integers(1, 7), st.integers(2, 9), st.integers(2, 9)),
    dtype=st.sampled_from(["uint8", "uint16", "int16", "float32"]),
    seed=st.integers(0, 99),
)
def test_any_stack_of_any_type_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, name: str, shape: tuple[int, int, int], dtype: str, seed: int
) -> None:
    """One slice or one row of chunks more: the edges of chunks are not edges of the stack."""
    stack = np.random.default_rng(seed).integers(0, 120, size=shape).astype(dtype)
    if name.startswith("hdf5") and (shape[0] < 2 or min(shape) < 4):
        shape, stack = (4, 8, 8), np.resize(stack, (4, 8, 8))
    np.testing.assert_array_equal(read_stack(EVERY[name](tmp_path_factory.mktemp("made"), stack)), stack)
