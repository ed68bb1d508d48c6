"""Reading TIFF and NIfTI: every common way of saving a stack, and what is no stack."""

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from stages.common.errors import DataError
from stages.common.imaging.stacks import binarise, read_stack
from stages.common.imaging.suffixes import suffix_of
from tests.support.stacks.plain import read_header
from tests.support.stacks.small import STACK, TIFF_KINDS, declared_um, nifti, save_nifti, save_tiff


@pytest.mark.parametrize("how", TIFF_KINDS.values(), ids=TIFF_KINDS)
def test_tiff_reads_back_as_it_was_saved(tmp_path: Path, how: dict[str, Any]) -> None:
    """A TIFF of any common kind gives the same voxels in z, y, x and the same dtype."""
    stack = read_stack(save_tiff(tmp_path / "a.tif", STACK, **how))
    assert stack.dtype == STACK.dtype
    np.testing.assert_array_equal(stack, STACK)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "uint32", "float32", "float64", "bool"])
def test_tiff_keeps_its_dtype(tmp_path: Path, dtype: str) -> None:
    """The dtype is the file's own."""
    stack = (STACK % 3 // 2).astype(dtype)
    np.testing.assert_array_equal(read_stack(save_tiff(tmp_path / "a.tiff", stack)), stack)


@pytest.mark.parametrize(
    ("described", "spacing_um"),
    [
        ({"unit": "micron", "spacing": 5.0}, (5.0, 0.5, 0.25)),
        ({"unit": "um", "spacing": 5.0}, (5.0, 0.5, 0.25)),
        ({"unit": "\\u00B5m", "spacing": 5.0}, (5.0, 0.5, 0.25)),
        ({"unit": "mm", "spacing": 0.005}, (5.0, 500.0, 250.0)),
        ({"unit": "pixel", "spacing": 5.0}, None),
        ({"spacing": 5.0}, None),
    ],
)
def test_imagej_s_spacing_counts_where_it_is_a_length(
    tmp_path: Path, described: dict[str, Any], spacing_um: tuple[float, float, float] | None
) -> None:
    """Depth of a voxel and pixels a unit; none without a unit of length or without a depth."""
    file = save_tiff(
        tmp_path / "a.tif", STACK, imagej=True, resolution=(4.0, 2.0), metadata={"axes": "ZYX", **described}
    )
    assert declared_um(file) == (pytest.approx(spacing_um) if spacing_um else None)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_nifti_is_transposed_to_zyx(tmp_path: Path, name: str) -> None:
    """NIfTI keeps x, y, z; a stack comes out as z, y, x."""
    np.testing.assert_array_equal(read_stack(save_nifti(tmp_path / name, STACK, (1, 1, 2), "mm")), STACK)


def test_nifti_with_a_last_axis_of_one_is_a_stack(tmp_path: Path) -> None:
    """x, y, z, 1 is what several tools write for a single volume."""
    path = save_nifti(tmp_path / "a.nii.gz", STACK[None], (1, 1, 2, 1), "mm")
    np.testing.assert_array_equal(read_stack(path), STACK)


def test_nifti_applies_its_scale(tmp_path: Path) -> None:
    """Slope and intercept (bytes 112 and 116 of a NIfTI-1 header) belong to the values."""
    path = save_nifti(tmp_path / "a.nii", STACK, (1, 1, 2), "mm")
    content = bytearray(path.read_bytes())
    struct.pack_into("<ff", content, 112, 0.5, 10.0)
    path.write_bytes(content)
    np.testing.assert_allclose(read_stack(path), STACK * 0.5 + 10.0)


@pytest.mark.parametrize(
    ("name", "suffix"),
    [
        ("a.tif", ".tif"),
        ("a.b.TIFF", ".tiff"),
        ("a.ome.tif", ".ome.tif"),
        ("a.nii.gz", ".nii.gz"),
        ("a.nii", ".nii"),
        ("a.png", None),
        ("tif", None),
    ],
)
def test_suffix_is_the_whole_one(name: str, suffix: str | None) -> None:
    """Two-part suffixes are kept whole, case does not matter."""
    assert suffix_of(name) == suffix


def _text(path: Path) -> None:
    path.write_text("this is no image\n" * 50)


def _absent(path: Path) -> None:
    assert not path.exists()


def _colour(path: Path) -> None:
    tifffile.imwrite(path, np.zeros((20, 20, 3), np.uint8), photometric="rgb")


def test_grey_stack_of_four_slices_is_not_taken_for_colours(tmp_path: Path) -> None:
    """Four equal planes one after the other are slices, even where the file calls them colour planes."""
    path = save_tiff(tmp_path / "a.tif", STACK[:4], photometric="rgb", planarconfig="separate")
    np.testing.assert_array_equal(read_stack(path), STACK[:4])


def _time_series(path: Path) -> None:
    tifffile.imwrite(path, np.zeros((2, 3, 8, 8), np.uint8), metadata={"axes": "TZYX"}, photometric="minisblack")


def _two_stacks(path: Path) -> None:
    with tifffile.TiffWriter(path) as writer:
        writer.write(np.zeros((5, 8, 8), np.uint8))
        writer.write(np.zeros((6, 9, 9), np.uint8))


@pytest.mark.parametrize(
    ("name", "make", "says"),
    [
        ("a.tif", _text, "damaged"),
        ("a.nii", _text, "damaged"),
        ("a.nii.gz", _text, "damaged"),
        ("a.tif", lambda path: path.touch(), "0 bytes"),
        ("a.nii.gz", lambda path: path.touch(), "0 bytes"),
        ("a.tif", lambda path: path.mkdir(), "folder"),
        ("a.tif", _absent, "does not exist"),
        ("a.png", _text, "not that of a TIFF or NIfTI"),
        ("a.nii", lambda path: nifti(STACK[:4].reshape(2, 2, 40, 33).T, np.eye(4)).to_filename(path), "2 × 2|33"),
        ("a.tif", _colour, "colour"),
        ("a.tif", _time_series, "it holds 2 time points"),
        ("a.tif", _two_stacks, "2 stacks"),
    ],
)
def test_what_is_no_stack_is_refused_by_name_and_reason(
    tmp_path: Path, name: str, make: Callable[[Path], None], says: str
) -> None:
    """The error names the file, what is wrong with it and what to do."""
    path = tmp_path / name
    make(path)
    with pytest.raises(DataError, match=says) as refused:
        read_stack(path)
    assert refused.value.file == path
    assert refused.value.remedy


def test_a_nifti_of_two_axes_is_one_slice(tmp_path: Path) -> None:
    """As a TIFF of one page is; it knows no distance between slices."""
    nifti(STACK[0].T, np.eye(4)).to_filename(tmp_path / "a.nii")
    np.testing.assert_array_equal(read_stack(tmp_path / "a.nii"), STACK[:1])
    header = read_header(tmp_path / "a.nii")
    assert (header.remarks, header.spacing.numbers_zyx) == (("the file holds a single slice",), None)


def test_thumbnail_beside_the_stack_does_not_count(tmp_path: Path) -> None:
    """Microscopes store a small picture in the same file."""
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(STACK)
        writer.write(np.zeros((8, 8), np.uint8))
    np.testing.assert_array_equal(read_stack(tmp_path / "a.tif"), STACK)


@pytest.mark.parametrize(
    ("unit", "spacing_um"),
    [("mm", (2000.0, 500.0, 250.0)), ("micron", (2.0, 0.5, 0.25)), ("meter", (2e6, 5e5, 2.5e5)), (None, None)],
)
def test_nifti_spacing_follows_its_unit(
    tmp_path: Path, unit: str | None, spacing_um: tuple[float, float, float] | None
) -> None:
    """xyzt_units decides the factor to µm; without a unit there is no spacing in µm."""
    path = save_nifti(tmp_path / "a.nii.gz", STACK, (0.25, 0.5, 2.0), unit)
    assert declared_um(path) == spacing_um
    assert read_header(path).spacing.numbers_zyx == (2.0, 0.5, 0.25)


def test_ome_spacing_is_converted_to_um(tmp_path: Path) -> None:
    """PhysicalSize with its unit gives µm; OME's default unit is µm."""
    metadata = {"PhysicalSizeZ": 0.002, "PhysicalSizeZUnit": "mm", "PhysicalSizeY": 0.5, "PhysicalSizeX": 250.0}
    metadata |= {"PhysicalSizeXUnit": "nm", "axes": "ZYX"}
    path = save_tiff(tmp_path / "a.ome.tif", STACK, metadata=metadata)
    assert declared_um(path) == pytest.approx((2.0, 0.5, 0.25))


def test_tiff_without_ome_has_no_spacing(tmp_path: Path) -> None:
    """A plain TIFF says nothing about µm."""
    assert declared_um(save_tiff(tmp_path / "a.tif", STACK)) is None


@pytest.mark.parametrize(
    ("low", "high", "dtype"),
    [(0, 255, "uint8"), (0, 254, "uint16"), (False, True, "bool"), (1, 2, "uint8"), (-1, 0, "int16"), (0.0, 1.0, "f4")],
)
def test_two_values_become_zero_and_one(low: float, high: float, dtype: str) -> None:
    """Any two-valued coding: the larger value is foreground."""
    truth = STACK > 100
    label = np.where(truth, high, low).astype(dtype)
    result = binarise(label)
    assert result.dtype == np.uint8
    np.testing.assert_array_equal(result, truth)


@pytest.mark.parametrize("values", [(0,), (255,), (0, 1, 2), (0.0, 1.0, np.nan), tuple(range(20))])
def test_other_than_two_values_are_refused(values: tuple[float, ...]) -> None:
    """A label of one value, three values or NaN is not a label; the error shows the values."""
    with pytest.raises(DataError, match=f"holds {len(values)} value") as refused:
        binarise(np.resize(np.array(values), (2, 5, 7)))
    shown = ", ".join(f"{value:g}" for value in values[:6]) + (", …" if len(values) > 6 else "")
    assert refused.value.value == shown
