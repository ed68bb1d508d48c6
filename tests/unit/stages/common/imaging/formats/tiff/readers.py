"""Whatever reads a TIFF reads the same, or refuses it in the same words."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from stages.common.errors import DataError
from stages.common.imaging.stacks import read_stack
from tests.support.stacks.plain import read_dtype, read_header, read_shape, read_slices

MEASURED = {"axes": "ZYX", "PhysicalSizeZ": 5.0, "PhysicalSizeY": 0.9, "PhysicalSizeX": 1.1}
OME = {"ome": True, "metadata": MEASURED}


def assert_reads(file: Path, expected: NDArray[Any]) -> None:
    """Whole, slice by slice and without its voxels: the same shape, type and values."""
    whole = read_stack(file)
    assert (whole.shape, whole.dtype) == (expected.shape, expected.dtype)
    np.testing.assert_array_equal(whole, expected)
    np.testing.assert_array_equal(np.stack(list(read_slices(file))), expected)
    assert (read_shape(file), read_dtype(file).newbyteorder("=")) == (expected.shape, expected.dtype)


def refusal(file: Path) -> DataError:
    """The error that every reader raises on `file`."""
    errors = []
    for read in (read_stack, read_header, read_shape, lambda path: list(read_slices(path))):
        with pytest.raises(DataError) as refused:
            read(file)
        errors.append(refused.value)
    assert {error.what for error in errors} == {errors[0].what}
    assert (errors[0].file, bool(errors[0].remedy)) == (file, True)
    return errors[0]
