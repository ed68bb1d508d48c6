"""NIfTI files whose name says otherwise than their content."""

import gzip
from pathlib import Path

import nibabel
import numpy as np
import pytest

from stages.common.errors import DataError
from stages.common.imaging.stacks import read_stack
from tests.support.stacks.plain import read_header, read_shape, read_slices

_STACK = np.arange(4 * 6 * 5, dtype=np.int16).reshape(4, 6, 5)


def _save(folder: Path, version: int, order: str) -> bytes:
    kind = nibabel.Nifti2Image if version == 2 else nibabel.Nifti1Image
    header = kind.header_class(endianness=order)
    image = kind(_STACK.T, np.diag([0.5, 0.6, 2, 1]), header)
    image.header.set_xyzt_units("micron")
    nibabel.save(image, folder / "plain.nii")
    return (folder / "plain.nii").read_bytes()


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_content_decides_whether_a_nifti_is_compressed(tmp_path: Path, name: str, version: int, order: str) -> None:
    """A .nii that is gzip and a .nii.gz that is not hold what their right names would."""
    data = _save(tmp_path, version, order)
    file = tmp_path / name
    file.write_bytes(gzip.compress(data) if name == "a.nii" else data)
    assert np.array_equal(read_stack(file), _STACK)
    assert np.array_equal(np.stack(list(read_slices(file))), _STACK)
    assert read_shape(file) == _STACK.shape
    assert read_header(file).spacing.numbers_zyx == (2.0, 0.6, 0.5)


@pytest.mark.parametrize("content", [b"", b"\x1f\x8b", b"\x1f\x8bxx", b"abc", b"\x5c\x01\0\0" + b"\0" * 100])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_what_is_no_nifti_is_refused_under_both_names(tmp_path: Path, name: str, content: bytes) -> None:
    """As damaged or cut, never by another error."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError):
        read_stack(tmp_path / name)
