"""What is doubtful about a label whose file does not say where it is in the world."""

from dataclasses import replace

import numpy as np
import pytest

from stages.common.imaging.formats.geometry import Geometry
from stages.common.imaging.formats.header import SpacingEvidence, StackHeader
from stages.ingest.labels.doubts import doubt_of_order, doubts_about

PLAIN = StackHeader(axes="ZYX", spacing=SpacingEvidence(numbers_zyx=None))


@pytest.mark.parametrize(("label", "image"), [(1, 4), (4, 1), (2, 4)])
def test_a_tiff_that_begins_elsewhere_is_said(label: int, image: int) -> None:
    """One of the two may have been flipped when it was read by a program that follows the tag."""
    headers = (replace(PLAIN, orientation=label), replace(PLAIN, orientation=image))
    (doubt,) = doubts_about(*headers, None)
    assert doubt.startswith(
        f"the label's TIFF Orientation is {label}, the image's {image}: one of them may be mirrored"
    )


def test_equal_orientations_are_no_doubt() -> None:
    """Both are read as they are stored."""
    assert not list(doubts_about(replace(PLAIN, orientation=4), replace(PLAIN, orientation=4), None))


def _geometry(shape: tuple[int, int, int], step: float, unit: str = "unknown") -> Geometry:
    affine = np.diag([step, step, step, 1.0])
    return Geometry(shape=shape, affine=affine, source="sform", pixdim=(step,) * 3, unit=unit)


@pytest.mark.parametrize("image", [None, _geometry((8, 9, 8), 0.9)])
def test_a_default_header_over_a_cube_is_doubtful(image: Geometry | None) -> None:
    """nibabel's user saves an array with z first under an identity: nothing but its shape could tell."""
    assert "would fit as z, y, x as well" in doubt_of_order(_geometry((8, 9, 8), 1.0), image)


@pytest.mark.parametrize(
    ("label", "image"),
    [
        (_geometry((8, 8, 9), 1.0), None),  # another order would not fit
        (_geometry((8, 9, 8), 1.0), _geometry((8, 9, 8), 1.0)),  # whatever was done to both
        (_geometry((8, 9, 8), 0.9), None),
        (_geometry((8, 9, 8), 1.0, "micron"), None),
    ],
)
def test_a_label_that_says_something_is_not_doubtful(label: Geometry, image: Geometry | None) -> None:
    """By its shape, or by its header."""
    assert doubt_of_order(label, image) == ""
