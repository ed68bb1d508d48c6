"""What the text header of an NRRD leaves open."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from stages.common.errors import DataError
from stages.common.imaging.reading import open_stack
from stages.common.imaging.spacing import spacing_of
from tests.support.stacks.any_form import read_header, read_stack

VOXELS = np.random.default_rng(3).integers(0, 255, (4, 6, 5)).astype(np.uint8)


def _nrrd(file: Path, *fields: str) -> Path:
    z, y, x = VOXELS.shape
    head = ["NRRD0004", "type: uint8", "dimension: 3", f"sizes: {x} {y} {z}", "encoding: raw", *fields]
    file.write_bytes("\n".join([*head, "", ""]).encode() + VOXELS.tobytes())
    return file


@pytest.mark.parametrize(("spacings", "axis"), [("1.1 0.9 nan", "z"), ("nan 0.9 5", "x"), ("NaN NaN 5", "x, y")])
def test_a_spacing_that_is_unknown_is_not_1(tmp_path: Path, spacings: str, axis: str) -> None:
    """NaN is the format's word for it. The grid is then nowhere, and no label is compared with it."""
    file = _nrrd(tmp_path / "a.nrrd", f"spacings: {spacings}", 'units: "um" "um" "um"')
    told = spacing_of(read_header(file))
    assert told.spacing_um is None
    assert told.reason.endswith(f"none along {axis}")
    assert np.array_equal(read_stack(file), VOXELS)
    with open_stack(file) as stack:
        assert stack.geometry is not None
        assert stack.geometry.affine is None


def test_units_that_differ_are_no_unit(tmp_path: Path) -> None:
    """20 µm in mm next to pixels in µm: not 0.02 µm."""
    file = _nrrd(tmp_path / "a.nrrd", "spacings: 0.9 0.9 0.02", 'units: "um" "um" "mm"')
    told = spacing_of(read_header(file))
    assert told.spacing_um is None
    assert "0.02 × 0.9 × 0.9 micron, mm" in told.reason
    same = _nrrd(tmp_path / "b.nrrd", "spacings: 0.9 0.9 5", 'units: "um" "microns" "um"')
    assert spacing_of(read_header(same)).spacing_um == (5.0, 0.9, 0.9)


@pytest.mark.parametrize("further", [(), ('space units: "mm" "mm" "mm"',)])
def test_units_next_to_directions_count_where_the_space_has_none(tmp_path: Path, further: tuple[str, ...]) -> None:
    """The format has `space units` for them, which some programs do not write. 0.05 µm was taken as 0.05 mm."""
    directions = ("space dimension: 3", "space directions: (0.05,0,0) (0,0.05,0) (0,0,0.1)")
    file = _nrrd(tmp_path / "a.nrrd", *directions, 'units: "um" "um" "um"', *further)
    told = spacing_of(read_header(file))
    assert told.spacing_um == ((100.0, 50.0, 50.0) if further else (0.1, 0.05, 0.05))
    assert not told.warnings


@pytest.mark.parametrize("fields", [(), ("axis mins: 0 0 0", "axis maxs: 4.5 5.4 20")])
def test_a_unit_without_spacings_is_no_spacing(tmp_path: Path, fields: tuple[str, ...]) -> None:
    """Of 1 µm: nothing says so."""
    told = spacing_of(read_header(_nrrd(tmp_path / "a.nrrd", 'units: "um" "um" "um"', *fields)))
    assert told.spacing_um is None
    assert told.reason.endswith("none along x, y, z")


@pytest.mark.parametrize("unit", ["µm", "μm"])
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
@pytest.mark.parametrize("field", ["units", "space units"])
def test_a_unit_is_read_in_either_field_and_encoding(tmp_path: Path, field: str, encoding: str, unit: str) -> None:
    """`space units` belongs to directions. Programs on Windows write µ as Latin-1, which has no Greek μ."""
    if encoding == "latin-1" and unit == "μm":
        return
    file = _nrrd(tmp_path / "a.nrrd", "spacings: 0.05 0.05 0.1", f'{field}: "{unit}" "{unit}" "{unit}"')
    file.write_bytes(file.read_bytes().replace(unit.encode(), unit.encode(encoding)))
    told = spacing_of(read_header(file))
    assert (told.spacing_um, told.warnings) == ((0.1, 0.05, 0.05), ())


def test_labels_of_the_axes_count(tmp_path: Path) -> None:
    """Of an array that was saved with z first, without directions: z was read as x."""
    labels = ('labels: "z" "y" "x"', "spacings: 5 0.9 1.1", 'units: "um" "um" "um"')
    file = _nrrd(tmp_path / "a.nrrd", *labels)
    assert np.array_equal(read_stack(file), VOXELS.T)
    header = read_header(file)
    assert spacing_of(header).spacing_um == (5.0, 0.9, 1.1)
    assert any("stored as z, y, x" in remark for remark in header.remarks)
    other = _nrrd(tmp_path / "b.nrrd", 'labels: "a" "y" "x"', *labels[1:])
    assert np.array_equal(read_stack(other), VOXELS)


@pytest.mark.parametrize(("endian", "order"), [(("endian: big",), ">"), (("endian: little",), "<"), ((), None)])
def test_the_order_of_bytes_is_not_guessed(tmp_path: Path, endian: tuple[str, ...], order: str | None) -> None:
    """Of a header by hand, next to a raw file of a microscope: 1 would be 256."""
    file = _nrrd(tmp_path / "a.nrrd", "spacings: 1 1 2", *endian)
    content = file.read_bytes().replace(b"type: uint8", b"type: uint16").replace(VOXELS.tobytes(), b"")
    file.write_bytes(content + VOXELS.astype(f"{order or '<'}u2").tobytes())
    if order is None:
        with pytest.raises(DataError, match="add `endian: little` or `endian: big`"):
            read_stack(file)
    else:
        assert np.array_equal(read_stack(file), VOXELS)


def test_a_list_of_files_is_named_as_such(tmp_path: Path) -> None:
    """It is not damaged."""
    file = tmp_path / "a.nhdr"
    head = ["NRRD0004", "type: uint8", "dimension: 3", "sizes: 5 6 4", "encoding: raw", "data file: LIST", "0.raw"]
    file.write_text("\n".join(head) + "\n")
    with pytest.raises(DataError, match="spread over several files"):
        read_header(file)


@pytest.mark.parametrize("spacings", ["nan 0.9 0.9 5", "0.9 0.9 5 nan"])
def test_the_axis_of_channels_is_the_one_without_spacing(tmp_path: Path, spacings: str) -> None:
    """Where no kind says which it is."""
    both = np.stack([VOXELS, 255 - VOXELS])
    file = _four_axes(tmp_path / "a.nrrd", both if spacings.endswith("nan") else np.moveaxis(both, 0, -1), spacings)
    assert np.array_equal(read_stack(file, 1), 255 - VOXELS)
    assert spacing_of(read_header(file, 1)).spacing_um == (5.0, 0.9, 0.9)


@pytest.mark.parametrize("spacings", ["1 0.9 0.9 5", "nan nan 0.9 5", ""])
def test_four_axes_that_may_all_be_in_space_are_refused(tmp_path: Path, spacings: str) -> None:
    """The first three were taken: with the channels in front, x was one of the channels."""
    file = _four_axes(tmp_path / "a.nrrd", np.stack([VOXELS, VOXELS], -1), spacings)
    for channel in (None, 1):
        with pytest.raises(
            DataError, match=r"which axes of its array of shape 4 × 6 × 5 × 2 are in space; add.* kinds"
        ):
            read_stack(file, channel)


def _four_axes(file: Path, voxels: NDArray[np.uint8], spacings: str) -> Path:
    sizes = " ".join(map(str, voxels.shape[::-1]))
    head = ["NRRD0004", "type: uint8", "dimension: 4", f"sizes: {sizes}", "encoding: raw"]
    told = [f"spacings: {spacings}", 'units: "um" "um" "um" "um"'] if spacings else []
    file.write_bytes("\n".join([*head, *told, "", ""]).encode() + voxels.tobytes())
    return file
