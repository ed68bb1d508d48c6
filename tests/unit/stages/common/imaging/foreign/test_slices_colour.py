"""Grey slices that a program saved in colour, one file each."""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from stages.common.errors import DataError
from stages.common.imaging.foreign.colour import IN_COLOUR
from tests.support.stacks.any_form import read_header, read_shape, read_stack

Pixels = NDArray[np.uint8] | NDArray[np.uint16]
GREY = np.random.default_rng(1).integers(0, 255, (3, 6, 5)).astype(np.uint8)


def _png(file: Path, pixels: Pixels) -> None:
    file.with_suffix(".png").write_bytes(imagecodecs.png_encode(pixels))


def _tiff(file: Path, pixels: Pixels) -> None:
    tifffile.imwrite(file.with_suffix(".tif"), pixels, photometric="rgb")


def _in_colour(plane: Pixels, transparency: bool) -> Pixels:
    return np.stack([plane] * 3 + [np.full_like(plane, 200)] * transparency, axis=-1)


@pytest.mark.parametrize("transparency", [False, True])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("write", [_png, _tiff])
def test_equal_colours_are_a_grey_slice(
    tmp_path: Path, write: Callable[[Path, Pixels], None], dtype: type[np.uint8], transparency: bool
) -> None:
    """Said once."""
    for z, plane in enumerate(GREY.astype(dtype)):
        write(tmp_path / f"z{z}", _in_colour(plane, transparency))
    assert read_shape(tmp_path) == GREY.shape
    found = read_stack(tmp_path)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, GREY)
    assert read_header(tmp_path).remarks.count(IN_COLOUR) == 1


def test_grey_with_transparency_is_grey(tmp_path: Path) -> None:
    for z, plane in enumerate(GREY):
        _png(tmp_path / f"z{z}", np.stack([plane, np.full_like(plane, 200)], axis=-1))
    np.testing.assert_array_equal(read_stack(tmp_path), GREY)


@pytest.mark.parametrize("write", [_png, _tiff])
def test_colours_that_differ_are_named_with_their_slice(tmp_path: Path, write: Callable[[Path, Pixels], None]) -> None:
    for z, plane in enumerate(GREY):
        colour = _in_colour(plane, False)
        colour[0, 0, 1] += z == 2
        write(tmp_path / f"z{z}", colour)
    with pytest.raises(DataError, match=r"slice z2.*colour"):
        read_stack(tmp_path)


@pytest.mark.parametrize("colours", [1, 3])
def test_a_value_that_stands_for_transparent_says_nothing(tmp_path: Path, colours: int) -> None:
    """PNG may name one (tRNS) instead of giving each pixel its own transparency. Such a file counted as damaged."""
    plane = np.arange(24, dtype=np.uint8).reshape(6, 4)
    _png(tmp_path / "z0", np.repeat(plane[..., None], colours, axis=-1).squeeze())
    content = (tmp_path / "z0.png").read_bytes()
    value = b"tRNS" + b"\0\1" * colours
    chunk = struct.pack(">I", 2 * colours) + value + struct.pack(">I", zlib.crc32(value))
    (tmp_path / "z0.png").write_bytes(content.replace(content[33:], chunk + content[33:]))
    np.testing.assert_array_equal(read_stack(tmp_path), plane[None])
