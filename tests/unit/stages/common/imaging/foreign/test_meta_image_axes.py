"""Which axis of a MetaImage is which, where it has more axes than a stack, and in which unit its spacing is."""

from pathlib import Path

import numpy as np
import pytest

from stages.common.imaging.spacing import spacing_of
from tests.support.stacks.any_form import read_header, read_stack

VOXELS = np.random.default_rng(3).integers(0, 255, (4, 6, 5)).astype(np.uint8)
_TURNED = "0 0 1 0 1 0 1 0 0"
_TURNED_IN_4 = "0 0 1 0  0 1 0 0  1 0 0 0  0 0 0 1"


@pytest.mark.parametrize(
    ("sizes", "turns", "steps", "origin"),
    [
        ("4 6 5", _TURNED, "5 0.9 1.1", "0 0 0"),
        ("4 6 5 1", _TURNED_IN_4, "5 0.9 1.1 1", "0 0 0 0"),
    ],
)
def test_an_axis_of_1_leaves_the_directions_of_the_others(
    tmp_path: Path, sizes: str, turns: str, steps: str, origin: str
) -> None:
    """As ITK writes the one time point of a series. An array with z first came out turned."""
    head = f"NDims = {len(sizes.split())}\nBinaryData = True\nDimSize = {sizes}\nElementSpacing = {steps}\n"
    head += f"Offset = {origin}\nTransformMatrix = {turns}\nElementType = MET_UCHAR\nElementDataFile = LOCAL\n"
    file = tmp_path / "a.mha"
    file.write_bytes(head.encode() + VOXELS.tobytes(order="F"))
    np.testing.assert_array_equal(read_stack(file), VOXELS)
    assert spacing_of(read_header(file)).spacing_um == (5.0, 0.9, 1.1)


@pytest.mark.parametrize("place", ["", "Offset = 0 0 0\nTransformMatrix = 1 0 0 0 1 0 0 0 1\n"])
@pytest.mark.parametrize(
    ("unit", "spacing_um"), [("um", (0.1, 0.05, 0.05)), ("mm", (100.0, 50.0, 50.0)), ("px", (100.0, 50.0, 50.0))]
)
def test_the_unit_of_distances_counts(
    tmp_path: Path, place: str, unit: str, spacing_um: tuple[float, float, float]
) -> None:
    """A field of MetaIO that ITK leaves out. Without a unit of length the numbers are in mm, which is said."""
    head = f"NDims = 3\nBinaryData = True\nDimSize = 5 6 4\nElementSpacing = 0.05 0.05 0.1\n{place}"
    head += f"DistanceUnits = {unit}\nElementType = MET_UCHAR\nElementDataFile = LOCAL\n"
    (tmp_path / "a.mha").write_bytes(head.encode() + VOXELS.tobytes())
    told = spacing_of(read_header(tmp_path / "a.mha"))
    assert told.spacing_um == spacing_um
    assert bool(told.warnings) is (unit == "px")
