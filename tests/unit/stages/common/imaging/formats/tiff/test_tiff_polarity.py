"""Which end of a TIFF's scale is bright."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.stacks.plain import read_header
from tests.support.stacks.small import STACK, save_tiff
from tests.unit.stages.common.imaging.formats.tiff.readers import OME, assert_reads


@pytest.mark.parametrize(
    "how",
    [{}, {"compression": "zlib"}, {"tile": (16, 16)}, {"byteorder": ">", "metadata": None}, OME],
    ids=["plain", "zlib", "tiled", "big_endian", "ome"],
)
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_white_is_zero_is_inverted(tmp_path: Path, how: dict[str, Any], dtype: str) -> None:
    """PhotometricInterpretation 0: the highest value of the type is black. The header says that it was done."""
    stack = STACK.astype(dtype)
    file = save_tiff(tmp_path / "a.tif", np.iinfo(dtype).max - stack, photometric="miniswhite", **how)
    assert_reads(file, stack)
    header = read_header(file)
    assert header.is_inverted
    assert any("WhiteIsZero" in remark for remark in header.remarks)


def test_black_is_zero_is_left_alone(tmp_path: Path) -> None:
    """Without a remark."""
    header = read_header(save_tiff(tmp_path / "a.tif", STACK))
    assert (header.is_inverted, header.remarks) == (False, ())


@pytest.mark.parametrize("how", [{}, {"compression": "zlib"}, {"metadata": None}], ids=["shaped", "zlib", "plain"])
def test_the_rarer_value_of_a_boolean_array_of_tifffile_is_bright(tmp_path: Path, how: dict[str, Any]) -> None:
    """tifffile tags every boolean array as WhiteIsZero, whether it means it or not."""
    vessels = STACK > 150
    file = save_tiff(tmp_path / "a.tif", vessels, **how)
    assert_reads(file, vessels)
    assert not read_header(file).is_inverted
    file = save_tiff(tmp_path / "a.tif", ~vessels, photometric="miniswhite", **how)
    assert_reads(file, vessels)
    assert read_header(file).is_inverted


def test_a_bilevel_file_of_another_program_is_inverted(tmp_path: Path) -> None:
    """Its tag means what the standard says."""
    file = save_tiff(tmp_path / "a.tif", STACK > 100, photometric="miniswhite", software=False, metadata=None)
    assert_reads(file, STACK <= 100)


def test_white_is_zero_means_nothing_for_signed_and_real_values(tmp_path: Path) -> None:
    """The standard defines it for unsigned values."""
    for dtype in ("int16", "float32"):
        assert_reads(save_tiff(tmp_path / "a.tif", STACK.astype(dtype), photometric="miniswhite"), STACK.astype(dtype))
