"""Slices that nobody labelled, with the background's value."""

import numpy as np
import pytest
from numpy.typing import NDArray

from stages.ingest.labels.gaps import doubt_of_gaps

DEPTH = 20
_CLEAR = np.ones(DEPTH, np.float32)


def _label(labelled: list[int], holes: int = 5) -> NDArray[np.uint8]:
    """Vessels all over the slices `labelled`; fewer with fewer `holes`."""
    label = np.zeros((DEPTH, 40, 40), np.uint8)
    label[labelled, 4 : 8 * holes : 8, 4::8] = 1
    return label


@pytest.mark.parametrize(
    ("labelled", "says"),
    [
        ([0, 9, 19], "no vessel in 17 slices of 20 (2-9, 11-19)"),
        ([0, 5, 10, 15], "no vessel in 12 slices of 20 (2-5, 7-10, 12-15)"),
        (list(range(8)), "no vessel in 12 slices of 20 (9-20)"),
        ([*range(7), *range(8, DEPTH)], "no vessel in 1 slice of 20 (8)"),
    ],
)
def test_slices_that_nobody_labelled_are_a_doubt(labelled: list[int], says: str) -> None:
    """They would be trained on as background."""
    said = doubt_of_gaps(_label(labelled), _CLEAR)
    assert says in said
    assert "ingest.ignore_value" in said


@pytest.mark.parametrize(
    "label",
    [
        _label(list(range(DEPTH))),
        _label(list(range(2, DEPTH - 2))),  # a few slices at an end
        _label([0, 9, 19], holes=1),  # a vessel that crosses a few slices
        np.zeros((DEPTH, 40, 40), np.uint8),
    ],
)
def test_labels_of_whole_stacks_are_no_doubt(label: NDArray[np.uint8]) -> None:
    """Few vessels may be absent from a slice."""
    assert doubt_of_gaps(label, _CLEAR) == ""


def test_slices_in_which_nothing_can_be_seen_are_no_doubt() -> None:
    """As below the depth that light reaches."""
    contrast = np.where(np.arange(DEPTH) < 8, 1, 0.1).astype(np.float32)
    assert doubt_of_gaps(_label(list(range(8))), contrast) == ""
