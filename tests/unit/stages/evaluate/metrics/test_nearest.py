"""Two ways to the nearest voxel: both against all pairs, and against each other where all pairs are too many."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from numpy.typing import NDArray

from stages.evaluate.metrics import nearest as module
from stages.evaluate.metrics.nearest import by_search, by_slices, nearest, points
from tests.unit.stages.evaluate.masks import Mask, Spacing, mask_pairs, spacings


def brute(start: Mask, goal: Mask, spacing: Spacing) -> list[float]:
    def scaled(mask: Mask) -> NDArray[np.float64]:
        return np.argwhere(mask) * np.array(spacing)

    return [min(math.dist(one, other) for other in scaled(goal)) for one in scaled(start)]


@settings(max_examples=100, deadline=None)
@given(masks=mask_pairs(), spacing=spacings)
def test_both_ways_equal_all_pairs(masks: tuple[Mask, Mask], spacing: Spacing) -> None:
    """On any two masks with any spacing, in the order of the array."""
    start, goal = masks
    if not goal.any():
        return
    expected = pytest.approx(brute(start, goal, spacing), abs=1e-12)
    assert list(by_search(points(start), points(goal), spacing, threads=1)) == expected
    assert list(by_slices(points(start), goal, spacing)) == expected
    assert list(nearest(start, goal, spacing, threads=1)) == expected


def test_both_ways_agree_on_a_larger_volume_with_empty_slices() -> None:
    """Speckle against a far line: the nearest voxel is mostly in another slice."""
    start = np.random.default_rng(0).random((20, 60, 70)) < 0.1
    goal = np.zeros_like(start)
    goal[3, 10, 5:60] = goal[17, 50:, 40] = True
    spacing = (2.485, 0.7, 0.7)
    slices = by_slices(points(start), goal, spacing)
    assert np.allclose(slices, by_search(points(start), points(goal), spacing, threads=2), rtol=1e-14, atol=0)
    assert slices.max() > 20


def test_many_voxels_take_distance_maps_and_few_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of voxels that the other mask lacks decides, and the answer is the same."""
    rng = np.random.default_rng(1)
    start, goal = rng.random((9, 30, 30)) < 0.3, rng.random((9, 30, 30)) < 0.02
    few = nearest(start, goal, (3.0, 0.5, 0.5), threads=1)
    monkeypatch.setattr(module, "FEW_VOXELS", 0)
    monkeypatch.setattr(module, "by_search", None)
    assert np.allclose(nearest(start, goal, (3.0, 0.5, 0.5), threads=1), few, rtol=1e-14, atol=0)
