"""Fields of a NIfTI header that some programs leave empty, or fill with what the format does not know."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from stages.common.errors import DataError
from stages.common.imaging.reading import open_stack
from stages.ingest.checks import check_image
from tests.support.stacks.any_form import read_header, read_shape, read_stack
from tests.unit.stages.common.imaging.formats.raw_files import nifti_1, nifti_2

SHAPE = (6, 5, 4)
VOXELS = bytes(range(120))


@pytest.mark.parametrize("data", [nifti_1(SHAPE, VOXELS, begin=0.0), nifti_2(SHAPE, VOXELS, begin=0)])
def test_voxels_do_not_begin_in_the_header(tmp_path: Path, data: bytes) -> None:
    """Else the header's bytes would be read as the first voxels, and the last ones left out."""
    file = tmp_path / "a.nii"
    file.write_bytes(data)
    with pytest.raises(DataError, match="voxels begin before its header ends"):
        read_stack(file)


def test_a_unit_that_the_format_does_not_define_is_unknown(tmp_path: Path) -> None:
    """The voxels are sound."""
    file, data = tmp_path / "a.nii", bytearray(nifti_1(SHAPE, VOXELS))
    data[123] = 7
    file.write_bytes(data)
    assert read_shape(file) == SHAPE[::-1]
    assert read_header(file).spacing.units_zyx == ("unknown",) * 3


@pytest.mark.parametrize("turn", [(1.0, 1.0, 1.0), (-1.0, -1.0, 1.0)])  # nibabel's, SimpleITK's
@pytest.mark.parametrize(("unit", "origin", "known"), [("mm", 0.0, False), ("mm", 3.0, True), ("micron", 0.0, True)])
def test_a_millimetre_by_default_is_no_spacing(
    tmp_path: Path, turn: tuple[float, ...], unit: str, origin: float, known: bool
) -> None:
    """What a program writes that was told nothing; somewhere else, or in µm, somebody has set it."""
    affine = np.diag([*turn, 1.0])
    affine[:3, 3] = origin
    image = nib.Nifti1Image(np.zeros(SHAPE, np.uint8), affine)
    image.header.set_xyzt_units(unit)
    nib.save(image, tmp_path / "a.nii")
    spacing = read_header(tmp_path / "a.nii").spacing
    assert (spacing.numbers_zyx is not None) == known
    assert ("1 × 1 × 1 mm from the origin" in spacing.missing) != known


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_the_other_byte_order_is_not_that_of_the_voxels_read(tmp_path: Path, name: str) -> None:
    """Of a big-endian file: whole and slice by slice, voxels are what OpenStack says and the table lists."""
    stack = np.arange(-60, 60, dtype=np.int16).reshape(SHAPE[::-1])
    header = nib.Nifti1Header(endianness=">")
    header.set_data_dtype(stack.dtype)
    nib.save(nib.Nifti1Image(stack.T, np.diag([1, 1, 5, 1]), header), tmp_path / name)  # type: ignore[no-untyped-call]
    with open_stack(tmp_path / name) as opened:
        slices = np.stack(list(opened.read_slices()))
        assert [opened.dtype.str, opened.read().dtype.str, slices.dtype.str] == [np.dtype(np.int16).str] * 3
        np.testing.assert_array_equal(opened.read(), stack)
        np.testing.assert_array_equal(slices, stack)
    assert check_image(tmp_path / name).dtype == "int16"
