"""Zeiss LSM as the microscope writes it: a TIFF with numbers in the first page, and a thumbnail after each page."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from stages.common.errors import DataError
from stages.common.imaging.reading import open_stack
from stages.common.imaging.spacing import spacing_of
from tests.support.stacks.any_form import read_stack

STACK = np.random.default_rng(5).integers(0, 4096, (5, 20, 24)).astype(np.uint16)
SPACING_UM = (2.5, 0.4, 0.5)
INFO_TAG, INFO_BYTES = 34412, 512
MAGIC = 0x0400494C
STACKS, TIMES = 0, 6  # kinds of scan
THUMBNAIL = np.full((3, 64, 64), 200, np.uint8)  # larger than a slice


def _info(sizes: dict[str, int], scan: int) -> bytes:
    """The first fields of the block of numbers, in metres; the others are 0."""
    counts = [sizes.get(axis, 1) for axis in "XYZCT"]
    head = struct.pack("<I9i", MAGIC, INFO_BYTES, *counts, 2, *THUMBNAIL.shape[1:])
    head += struct.pack("<6d", *(size * 1e-6 for size in SPACING_UM[::-1]), 0, 0, 0) + struct.pack("<HH", scan, 0)
    return head.ljust(INFO_BYTES, b"\0")


def save_lsm(file: Path, planes: NDArray[Any], axes: str = "ZYX", scan: int = STACKS, **how: Any) -> Path:
    """`planes` by `axes`: a page for each but C, Y and X."""
    sizes = dict(zip(axes, planes.shape, strict=True))
    pages = planes.reshape(-1, *planes.shape[-2 - ("C" in sizes) :])
    if "C" in sizes:
        how["planarconfig"] = "separate"
    with tifffile.TiffWriter(file) as writer:
        for number, page in enumerate(pages):
            tags = [(INFO_TAG, 1, INFO_BYTES, _info(sizes, scan), True)] if number == 0 else []
            writer.write(page, photometric="minisblack", extratags=tags, metadata=None, contiguous=False, **how)
            writer.write(
                THUMBNAIL,
                photometric="rgb",
                planarconfig="separate",
                subfiletype=1,
                metadata=None,
                contiguous=False,
            )
    return file


@pytest.mark.parametrize("compression", [None, "lzw"])
@pytest.mark.parametrize("depth", [5, 1])
def test_the_stack_is_read_and_not_its_thumbnails(tmp_path: Path, depth: int, compression: str | None) -> None:
    """Also where they have more voxels; with the size of a voxel in µm."""
    with open_stack(save_lsm(tmp_path / "a.lsm", STACK[:depth], compression=compression)) as stack:
        assert np.array_equal(stack.read(), STACK[:depth])
        told = spacing_of(stack.header)
    assert (told.spacing_um, told.source) == (pytest.approx(SPACING_UM), "LSM VoxelSize")


def test_one_of_several_channels_is_read(tmp_path: Path) -> None:
    """They are planes of one page."""
    file = save_lsm(tmp_path / "a.lsm", np.stack([STACK, STACK[::-1], STACK + 1], axis=1), "ZCYX")
    assert np.array_equal(read_stack(file, 1), STACK[::-1])
    with pytest.raises(DataError, match="it holds 3 channels"):
        read_stack(file)


def test_several_time_points_are_refused_by_name(tmp_path: Path) -> None:
    """As in every other format."""
    file = save_lsm(tmp_path / "a.lsm", np.stack([STACK, STACK]), "TZYX", TIMES)
    with pytest.raises(DataError, match="it holds 2 time points"):
        read_stack(file)
