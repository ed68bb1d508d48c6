"""Centrelines by hand, and the short cut for a volume that is foreground throughout."""

import itertools

import numpy as np
import pytest
from skimage.morphology import skeletonize

from stages.evaluate.metrics.centreline import skeleton


def test_a_mask_that_thinning_would_lose_keeps_a_centreline() -> None:
    """Every small solid block has a centreline within itself."""
    for shape in itertools.product(range(1, 5), repeat=3):
        block = np.pad(np.ones(shape, dtype=np.bool_), 1)
        assert skeleton(block).any()
        assert not (skeleton(block) & ~block).any()


def test_a_straight_tube_has_its_axis() -> None:
    """Of a tube of radius 3 along x, thinning leaves one voxel in each slice across it, on the axis."""
    z, y, _ = np.indices((9, 9, 40))
    found = skeleton((z - 4) ** 2 + (y - 4) ** 2 <= 9)
    assert found[4, 4, 6:-6].all()
    assert found[:, :, 6:-6].sum() == 40 - 12


@pytest.mark.parametrize("shape", [*itertools.product((1, 2, 3, 4, 7, 10), repeat=3), (9, 40, 33), (6, 7, 50)])
def test_a_full_volume_has_the_centreline_that_thinning_gives(shape: tuple[int, int, int]) -> None:
    """Peeling by arithmetic equals thinning voxel by voxel, for solid boxes of any proportions."""
    box = np.ones(shape, dtype=np.bool_)
    thinned = skeletonize(box, method="lee")
    assert np.array_equal(skeleton(box), thinned if thinned.any() else box)
