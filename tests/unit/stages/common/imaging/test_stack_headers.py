"""The headers of stack files, and how readers' errors are reported."""

import contextlib
import errno
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from stages.common.errors import CapillaryError, DataError, ExitCode
from stages.common.imaging.formats.damage import shape_text
from stages.common.imaging.formats.tiff.stack import open_tiff
from stages.common.imaging.stacks import binarise, read_stack, refusing_damage
from tests.support.stacks.plain import read_header
from tests.support.stacks.small import STACK, TIFF_KINDS, declared_um, nifti, save_nifti, save_tiff

SIZES = {"PhysicalSizeZ": 2.0, "PhysicalSizeY": 0.5, "PhysicalSizeX": 0.25}


@pytest.mark.parametrize(
    ("kind", "axes"), [("ome", "ZYX"), ("imagej", "ZYX"), ("shaped", "QYX"), ("plain", "IYX"), ("nii", "ZYX")]
)
def test_axes_are_those_of_the_file(tmp_path: Path, kind: str, axes: str) -> None:
    """The slices of a TIFF without metadata are of an unknown axis (Q or I); NIfTI's axes are fixed."""
    if kind == "nii":
        file = save_nifti(tmp_path / "a.nii", STACK, (1, 1, 2), "mm")
    else:
        named = {"metadata": {"axes": "ZYX"}} if kind == "ome" else {}
        file = save_tiff(tmp_path / "a.tif", STACK, **TIFF_KINDS[kind] | named)
    assert read_header(file).axes == axes


@pytest.mark.parametrize(
    ("metadata", "spacing_um"),
    [
        (SIZES, (2.0, 0.5, 0.25)),
        (SIZES | {"PhysicalSizeYUnit": "nm"}, (2.0, 0.0005, 0.25)),
        (SIZES | {"PhysicalSizeXUnit": "pixel"}, None),
        ({name: size for name, size in SIZES.items() if name != "PhysicalSizeZ"}, None),
        ({}, None),
    ],
)
def test_ome_needs_a_size_on_each_axis(
    tmp_path: Path, metadata: dict[str, Any], spacing_um: tuple[float, float, float] | None
) -> None:
    """In a unit of length, by default µm; otherwise the spacing is unknown."""
    file = save_tiff(tmp_path / "a.ome.tif", STACK, metadata={"axes": "ZYX", **metadata})
    assert declared_um(file) == (pytest.approx(spacing_um) if spacing_um else None)


@pytest.mark.parametrize("resolution", [(0, 2), (2, 0)])
def test_a_resolution_of_zero_gives_no_spacing(tmp_path: Path, resolution: tuple[int, int]) -> None:
    """Some programs write 0 for an unknown resolution."""
    file = save_tiff(
        tmp_path / "a.tif",
        STACK,
        imagej=True,
        resolution=resolution,
        metadata={"axes": "ZYX", "unit": "micron", "spacing": 5.0},
    )
    assert read_header(file).spacing.numbers_zyx is None


@pytest.mark.parametrize("shape", [(1, 40, 33), (6, 40, 1), (6, 1, 33)])
def test_an_axis_of_one_stays(tmp_path: Path, shape: tuple[int, int, int]) -> None:
    """A single slice, row or column keeps its axis; only axes beyond the third are dropped."""
    stack = STACK[: shape[0], : shape[1], : shape[2]]
    assert read_stack(save_nifti(tmp_path / "a.nii", stack, (1, 1, 2), "mm")).shape == shape
    five = nifti(stack.T[..., None, None], np.eye(4))
    five.to_filename(tmp_path / "five.nii")
    np.testing.assert_array_equal(read_stack(tmp_path / "five.nii"), stack)


def test_a_nifti_without_a_third_axis_has_no_spacing(tmp_path: Path) -> None:
    """A spacing needs three sizes."""
    nifti(STACK[0].T, np.eye(4)).to_filename(tmp_path / "a.nii")
    spacing = read_header(tmp_path / "a.nii").spacing
    assert (spacing.numbers_zyx, spacing.declared_um) == (None, None)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ENOSPC, errno.EMFILE])
def test_a_fault_of_the_machine_is_not_called_damage(tmp_path: Path, number: int) -> None:
    """Other errors of the operating system are passed on unchanged."""
    file = save_tiff(tmp_path / "a.tif", STACK)
    with pytest.raises(OSError, match="fault") as raised, refusing_damage(file):
        raise OSError(number, "fault")
    assert not isinstance(raised.value, CapillaryError)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError("Not a gzipped file"), "Not a gzipped file"),
        (OSError(errno.EINVAL, "Invalid argument"), "[Errno 22] Invalid argument"),
        (OSError(errno.EOVERFLOW, "Too large"), "[Errno 75] Too large"),
        (ValueError("two\n  lines"), "two lines"),
        (KeyError(), "KeyError"),
        (AssertionError("x" * 500), "x" * 160),
    ],
)
def test_damage_is_reported_with_the_reader_s_reason(tmp_path: Path, error: Exception, reason: str) -> None:
    """On one line, cut to a limit; an error without a message shows its type."""
    file = save_tiff(tmp_path / "a.tif", STACK)
    with pytest.raises(DataError) as refused, refusing_damage(file):
        raise error
    assert refused.value.what == f"the file is damaged or cut: {reason}"
    assert refused.value.file == file
    assert "whole copy" in refused.value.remedy


def test_a_lack_of_memory_shows_what_the_voxels_take(tmp_path: Path) -> None:
    """Their uncompressed size in the stored type, in GB."""
    file = tmp_path / "a.tif"
    tifffile.memmap(file, shape=(20, 1000, 1000), dtype="float32", photometric="minisblack")  # a sparse file
    with pytest.raises(CapillaryError, match="does not fit") as refused, refusing_damage(file):
        raise MemoryError
    assert (refused.value.code, refused.value.value) == (ExitCode.MACHINE, "0.1 GB of voxels")


@pytest.mark.parametrize("sound", [True, False])
def test_the_log_of_tifffile_is_left_as_it_was(tmp_path: Path, sound: bool) -> None:
    """Errors are collected inside the block; handlers and propagation are restored after it."""
    logger = logging.getLogger("tifffile")
    before = list(logger.handlers), logger.propagate
    file = save_tiff(tmp_path / "a.tif", STACK)

    def read() -> None:
        with open_tiff(file):
            assert not logger.propagate
            logger.warning("an oddity")
            for text in () if sound else ("a page is missing", "another one"):
                logger.error(text)

    with contextlib.nullcontext() if sound else pytest.raises(ValueError, match=r"^a page is missing$"):
        read()
    assert (list(logger.handlers), logger.propagate) == before


@pytest.mark.parametrize(("count", "shown"), [(3, "0, 1, 2"), (6, "0, 1, 2, 3, 4, 5"), (9, "0, 1, 2, 3, 4, 5, …")])
def test_the_first_six_values_of_a_label_are_shown(count: int, shown: str) -> None:
    """An ellipsis stands for the rest."""
    with pytest.raises(DataError, match=f"holds {count} values") as refused:
        binarise(np.resize(np.arange(count), (2, 5, 7)))
    assert refused.value.value == shown
    with pytest.raises(DataError, match="holds 1 value, a label must hold two"):
        binarise(np.full((2, 5, 7), 3))


def test_sizes_are_shown_with_crosses() -> None:
    """An empty shape is shown as ()."""
    assert shape_text((4, 24, 20)) == "4 × 24 × 20"
    assert shape_text(()) == "()"
