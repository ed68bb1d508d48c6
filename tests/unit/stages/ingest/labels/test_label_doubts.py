"""What is doubtful about a label whose file does not say where it is in the world."""

from dataclasses import replace

import pytest

from stages.common.imaging.formats.header import SpacingEvidence, StackHeader
from stages.ingest.labels.doubts import doubts_about

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
