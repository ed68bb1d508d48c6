"""Files that are sound, and of another format than their name says."""

import gzip
from pathlib import Path

import pytest

from stages.common.errors import DataError
from stages.common.imaging.formats.content import other_content
from tests.support.stacks.any_form import read_stack
from tests.support.stacks.small import STACK, save_nifti, save_tiff

PNG = b"\x89PNG\r\n\x1a\n" + bytes(400)
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"


@pytest.mark.parametrize("name", ["a.tif", "a.nii.gz", "a.nii", "a.nrrd", "a.mha", "a.h5"])
@pytest.mark.parametrize(
    ("content", "says"),
    [
        (PNG, "it is a PNG, not a"),
        (b"\xff\xd8\xff\xe0" + bytes(400), "it is a JPEG, not a"),
        (bytes(128) + b"DICM" + bytes(400), "it is a DICOM file, not a"),
        (gzip.compress(PNG, mtime=0), "it is a gzip file with a PNG in it, not a"),
        (LFS, r"it is a pointer of Git LFS, not the file itself \(get the file: git lfs pull\)"),
        (b"/annex/objects/MD5E-s1--0.tif\n", "it is a pointer of git-annex, not the file itself"),
        (b"<!DOCTYPE html><html>404</html>", "it is a web page"),
    ],
)
def test_another_format_is_named(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    """It is not damaged: another copy of it would not help."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=says) as refused:
        read_stack(tmp_path / name)
    assert refused.value.remedy


def test_a_stack_under_the_name_of_another_format_is_named(tmp_path: Path) -> None:
    """To be renamed."""
    save_tiff(tmp_path / "a.tif", STACK).rename(tmp_path / "a.nii.gz")
    save_nifti(tmp_path / "b.nii.gz", STACK, (1, 1, 2), "mm").rename(tmp_path / "b.tif")
    for name, says in (
        ("a.nii.gz", "it is a TIFF, not a NIfTI"),
        ("b.tif", "a gzip file with a NIfTI in it, not a TIFF"),
    ):
        with pytest.raises(DataError, match=says):
            read_stack(tmp_path / name)


@pytest.mark.parametrize("content", [b"hello", b"", b"\x1f\x8b", b"\x5c\x01\x00\x00"])
def test_what_is_unknown_or_as_named_is_left_to_the_reader(tmp_path: Path, content: bytes) -> None:
    """A NIfTI may be packed, and cut."""
    (tmp_path / "a.nii").write_bytes(content)
    assert other_content(tmp_path / "a.nii") is None
    assert other_content(tmp_path / "none.nii") is None
    assert other_content(tmp_path) is None
