"""clDice by hand; centrelines themselves are tested where they are made."""

import numpy as np
import pytest

from stages.common.imaging.masks.skeleton import skeleton
from stages.evaluate.metrics.centreline import centreline_dsc


def test_by_hand() -> None:
    """A line of eight voxels, of which a prediction finds six and adds two next to it: 2·(6/8)·(6/8) / (6/8 + 6/8)."""
    label, found = np.zeros((2, 3, 5, 12), dtype=np.bool_)
    label[1, 2, 2:10] = True
    found[1, 2, 2:8] = True
    found[1, 4, 0:2] = True
    assert centreline_dsc(found, label, found, label) == pytest.approx(6 / 8)


def test_every_false_speck_counts() -> None:
    """A vessel that is found, and sixty pieces of 2 × 2 × 2 voxels that are not there: precision is their share."""
    label = np.zeros((12, 60, 60), dtype=np.bool_)
    label[5:8, 5:8, 4:56] = True
    prediction = label.copy()
    places = [(z, y, x) for z in (1, 8) for y in range(16, 56, 6) for x in range(4, 54, 8)][:60]
    for z, y, x in places:
        prediction[z : z + 2, y : y + 2, x : x + 2] = True
    lines = skeleton(prediction), skeleton(label)
    right = np.count_nonzero(lines[0] & label)
    assert right / lines[0].sum() <= right / (right + 60)
    found = centreline_dsc(prediction, label, *lines)
    assert found == pytest.approx(2 * right / (right + lines[0].sum()))
    assert found is not None
    assert found < 0.65
