"""A stack's file is opened, and its header parsed, once for all that is asked of it."""

import builtins
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nrrd
import numpy as np
import pytest
import tifffile

from stages.common.imaging.reading import open_stack
from tests.support.stacks.small import STACK, save_nifti, save_tiff


def _save_nrrd(file: Path) -> Path:
    nrrd.write(str(file), STACK.transpose(2, 1, 0), {"spacings": [1.0, 1.0, 2.0], "encoding": "gzip"})
    return file


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """The files below the test's folder that were opened."""
    names: list[str] = []

    def counting(real: Callable[..., Any]) -> Callable[..., Any]:
        def open_(file: Any, *args: Any, **options: Any) -> Any:
            if str(file).startswith(str(tmp_path)):
                names.append(Path(file).name)
            return real(file, *args, **options)

        return open_

    for module in (builtins, io):
        monkeypatch.setattr(module, "open", counting(module.open))
    return names


@pytest.mark.parametrize(
    ("save", "most"),
    [
        (lambda folder: save_tiff(folder / "a.tif", STACK), 1),
        # a look at the head, two by which nibabel finds out the kind and reads the header, the voxels
        (lambda folder: save_nifti(folder / "a.nii", STACK, (0.25, 0.5, 2.0), "micron"), 4),
        (lambda folder: save_nifti(folder / "a.nii.gz", STACK, (0.25, 0.5, 2.0), "micron"), 5),  # and the checksum
        (lambda folder: _save_nrrd(folder / "a.nrrd"), 3),  # header, checksum, voxels
    ],
    ids=["TIFF", "NIfTI", "packed NIfTI", "NRRD"],
)
def test_one_opening_answers_every_question(
    tmp_path: Path, opened: list[str], save: Callable[[Path], Path], most: int
) -> None:
    """Shape, type, header, geometry and voxels. Each opening costs a header of up to thousands of pages."""
    file = save(tmp_path)
    opened.clear()
    with open_stack(file) as stack:
        assert (stack.shape_zyx, stack.dtype) == (STACK.shape, STACK.dtype)
        assert (stack.header.axes[1:], stack.geometry is None) == ("YX", file.suffix == ".tif")
        np.testing.assert_array_equal(np.stack(list(stack.read_slices())), STACK)
    assert len(opened) <= most


def test_the_pages_of_a_tiff_are_parsed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where it is read as a whole and in parts."""
    file = save_tiff(tmp_path / "a.tif", STACK)
    parsed: list[str] = []

    class Counting(tifffile.TiffFile):
        def __init__(self, *args: Any, **options: Any) -> None:
            parsed.append("once")
            super().__init__(*args, **options)

    monkeypatch.setattr(tifffile, "TiffFile", Counting)
    with open_stack(file) as stack:
        assert stack.header.axes.endswith("YX")
        assert stack.regions is not None
        part = stack.regions.read((slice(1, 3), slice(0, 4), slice(2, 5)))
        np.testing.assert_array_equal(part, STACK[1:3, 0:4, 2:5])
        np.testing.assert_array_equal(stack.read(), STACK)
    assert parsed == ["once"]


@pytest.mark.parametrize("suffix", [".tif", ".nii", ".nrrd"])
def test_what_a_user_of_an_open_stack_does_wrong_is_not_taken_for_damage(tmp_path: Path, suffix: str) -> None:
    """Only what the reader raises is."""
    savers = {".tif": save_tiff, ".nii": lambda file, stack: save_nifti(file, stack, (1, 1, 1), "micron")}
    file = tmp_path / f"a{suffix}"
    savers.get(suffix, lambda file, _: _save_nrrd(file))(file, STACK)
    with pytest.raises(ValueError, match="not the file's fault"):
        _use_wrongly(file)


def _use_wrongly(file: Path) -> None:
    with open_stack(file) as stack:
        for _ in stack.read_slices():
            raise ValueError("not the file's fault")
