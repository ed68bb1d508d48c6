"""Fields of a NIfTI header that some programs leave empty, or fill with what the format does not know."""

from pathlib import Path

import pytest

from stages.common.errors import DataError
from stages.common.imaging.reading import read_header, read_shape, read_stack
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
