"""Rules on the voxels of an image and its label."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from stages.common.errors import DataError
from stages.ingest.checks import check_image, check_label
from tests.unit.stages.ingest.made import SHAPE_ZYX, image_zyx, label_zyx


def _save(tmp_path: Path, stack: NDArray[Any]) -> Path:
    file = tmp_path / "stack.tif"
    tifffile.imwrite(file, stack, photometric="minisblack")
    return file


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "uint32", "int32", "float32", "float64"])
def test_grey_values_of_every_common_dtype_pass(tmp_path: Path, dtype: str) -> None:
    """Shape and dtype are kept for the table."""
    facts = check_image(_save(tmp_path, image_zyx(1).astype(dtype)))
    assert facts.shape_zyx == SHAPE_ZYX
    assert facts.dtype == dtype
    assert not facts.warnings


@pytest.mark.parametrize(("low", "high", "dtype"), [(0, 255, "uint8"), (0, 1, "bool"), (-1, 0, "int8")])
def test_an_image_of_two_values_is_doubtful(tmp_path: Path, low: int, high: int, dtype: str) -> None:
    """A label in its place would be trained on without a word."""
    facts = check_image(_save(tmp_path, np.where(label_zyx() > 0, high, low).astype(dtype)))
    assert facts.warnings == (f"the image's voxels are {low} and {high} alone, as those of a label; is it one?",)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_image_with_a_value_that_is_no_number_is_refused(tmp_path: Path, wrong: float) -> None:
    """One NaN would spread through normalisation over the whole stack."""
    image = image_zyx(1).astype(np.float32)
    image[0, 0, :3] = wrong
    with pytest.raises(DataError, match="3 voxels are NaN or infinite"):
        check_image(_save(tmp_path, image))


@pytest.mark.parametrize("value", [0, 7])
def test_constant_image_is_refused(tmp_path: Path, value: int) -> None:
    """Every voxel the same: an empty channel or a failed export."""
    with pytest.raises(DataError, match=f"every voxel is {value}"):
        check_image(_save(tmp_path, np.full(SHAPE_ZYX, value, np.uint8)))


def test_complex_voxels_are_refused(tmp_path: Path) -> None:
    """The dtype is named."""
    with pytest.raises(DataError, match="complex64"):
        check_image(_save(tmp_path, image_zyx(1).astype(np.complex64)))


@pytest.mark.parametrize(
    ("low", "high", "dtype"),
    [
        (0, 255, "uint8"),
        (0, 254, "uint16"),
        (0, 1, "uint8"),
        (False, True, "bool"),
        (0, 1, "f4"),
        (-1, 1, "int8"),
    ],
)
def test_two_valued_labels_pass(tmp_path: Path, low: float, high: float, dtype: str) -> None:
    """The larger value is foreground, and its share is that of the voxels."""
    truth = label_zyx() > 0
    facts = check_label(_save(tmp_path, np.where(truth, high, low).astype(dtype)), SHAPE_ZYX)
    assert facts.foreground_value == high
    assert facts.foreground_share == pytest.approx(truth.mean())
    assert facts.warnings == ()


def test_unusual_coding_passes_with_a_warning(tmp_path: Path) -> None:
    """1 and 2 are two values too, but which is vessel is a guess that is told."""
    facts = check_label(_save(tmp_path, np.where(label_zyx() > 0, 2, 1).astype(np.uint8)), SHAPE_ZYX)
    assert facts.warnings == ("the label's values are 1 and 2; 2 is taken as vessel",)


def test_label_of_mostly_vessel_warns(tmp_path: Path) -> None:
    """An inverted label is still two-valued."""
    facts = check_label(_save(tmp_path, 255 - label_zyx()), SHAPE_ZYX)
    assert facts.warnings == ("92% of the voxels are labelled as vessel; is the label inverted?",)


def test_half_of_the_voxels_may_be_vessel(tmp_path: Path) -> None:
    """Exactly half passes without a warning; one voxel more does not."""
    half = np.zeros((2, 6, 6), np.uint8)
    half[0] = 1
    assert check_label(_save(tmp_path, half), (2, 6, 6)).warnings == ()
    half[1, 0, 0] = 1
    assert "51% of the voxels" in check_label(_save(tmp_path, half), (2, 6, 6)).warnings[0]


@pytest.mark.parametrize(
    ("label", "says"),
    [
        (label_zyx()[:, :-1], r"4 × 23 × 20 is not the image's 4 × 24 × 20$"),
        (label_zyx().T, r"20 × 24 × 4 is not the image's 4 × 24 × 20; its axes seem to be exchanged"),
        (
            label_zyx()[:2],
            r"2 × 24 × 20 is not the image's 4 × 24 × 20; if the other slices are not labelled, fill them",
        ),
        (label_zyx()[:-1], r"3 × 24 × 20 is not"),
        (label_zyx().transpose(1, 2, 0).copy(), r"24 × 20 × 4 is not"),
        (np.zeros(SHAPE_ZYX, np.uint8), "it is empty"),
        (np.full(SHAPE_ZYX, 255, np.uint8), "it is full: every voxel is 255"),
        (np.full(SHAPE_ZYX, -1, np.int16), "it is full: every voxel is -1"),
        (label_zyx().astype(np.complex64), "complex64"),
        (np.where(label_zyx() > 0, np.inf, 0.0), "160 voxels are NaN or infinite"),
        (image_zyx(1) % 3, "holds 3 values"),
        (np.where(label_zyx() > 0, np.nan, 0.0), "NaN"),
    ],
)
def test_label_that_cannot_be_right_is_refused(tmp_path: Path, label: NDArray[Any], says: str) -> None:
    """The reason shows the values."""
    file = tmp_path / "label.tif"
    tifffile.imwrite(file, label, photometric="minisblack")
    with pytest.raises(DataError, match=says):
        check_label(file, SHAPE_ZYX)


def test_label_is_judged_without_its_image(tmp_path: Path) -> None:
    """When the image cannot be read, the label's own faults are still told."""
    with pytest.raises(DataError, match="empty"):
        check_label(_save(tmp_path, np.zeros((2, 9, 9), np.uint8)), None)
