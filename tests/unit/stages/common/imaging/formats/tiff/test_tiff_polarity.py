"""Which end of a TIFF's scale is bright."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from tests.support.stacks.plain import read_header
from tests.support.stacks.small import STACK, save_tiff
from tests.unit.stages.common.imaging.formats.tiff.readers import OME, assert_reads, refusal


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


def _set_tag(file: Path, name: str, value: int, pages: tuple[int, ...]) -> None:
    """Write a short integer into a tag of some pages, as a program does that copies pages of several files."""
    with tifffile.TiffFile(file) as tiff:
        places = [tiff.pages.get(number, aspage=True).tags[name].valueoffset for number in pages]
        order = tiff.byteorder
    with file.open("r+b") as stream:
        for place in places:
            stream.seek(place)
            stream.write(struct.pack(f"{order}H", value))


@pytest.mark.parametrize("pages", [(0,), (1, 4), (5,)])
@pytest.mark.parametrize(
    "how",
    [{}, {"metadata": None}, {"imagej": True}, {"bigtiff": True, "byteorder": ">"}, OME],
    ids=["shaped", "plain", "imagej", "big", "ome"],
)
def test_white_is_zero_on_some_pages_of_a_stack_in_one_piece(
    tmp_path: Path, how: dict[str, Any], pages: tuple[int, ...]
) -> None:
    """Uncompressed pages one after the other: tifffile reads all of them by the tags of the first."""
    values = STACK.copy()
    values[list(pages)] = 255 - values[list(pages)]
    file = save_tiff(tmp_path / "a.tif", values, **how)
    _set_tag(file, "PhotometricInterpretation", 0, pages)
    assert_reads(file, STACK)
    header = read_header(file)
    assert header.is_inverted
    assert any("WhiteIsZero" in remark for remark in header.remarks)


def test_a_page_of_another_kind_of_numbers_is_refused(tmp_path: Path) -> None:
    """One of unsigned values among signed ones, in a stack in one piece."""
    file = save_tiff(tmp_path / "a.tif", STACK.astype("int16"), metadata=None)
    _set_tag(file, "SampleFormat", 1, (3,))
    assert refusal(file).what == "its planes differ: plane 4 is 40 × 33 of uint16, others 40 × 33 of int16"
