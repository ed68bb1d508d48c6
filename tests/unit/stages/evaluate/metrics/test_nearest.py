"""Two ways to the nearest voxel: both against all pairs, and against each other where all pairs are too many."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from numpy.typing import NDArray

from stages.evaluate.metrics import nearest as module
from stages.evaluate.metrics.nearest import by_search, by_slices, nearest, points, search_tree
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
    assert list(by_search(points(start), search_tree(goal, spacing), spacing, threads=1)) == expected
    assert list(by_slices(points(start), goal, spacing)) == expected
    assert list(nearest(start, goal, spacing, threads=1)) == expected


def test_both_ways_agree_on_a_larger_volume_with_empty_slices() -> None:
    """Speckle against a far line: the nearest voxel is mostly in another slice."""
    start = np.random.default_rng(0).random((20, 60, 70)) < 0.1
    goal = np.zeros_like(start)
    goal[3, 10, 5:60] = goal[17, 50:, 40] = True
    spacing = (2.485, 0.7, 0.7)
    slices = by_slices(points(start), goal, spacing)
    assert np.allclose(
        slices, by_search(points(start), search_tree(goal, spacing), spacing, threads=2), rtol=1e-14, atol=0
    )
    assert slices.max() > 20


def test_many_or_far_voxels_take_distance_maps_and_the_answer_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Near and few are searched; neither the number nor the distance changes more than rounding."""
    rng = np.random.default_rng(1)
    start = rng.random((9, 60, 60)) < 0.3
    near, far = rng.random(start.shape) < 0.02, np.zeros_like(start)
    far[0, 0, 0] = True
    spacing = (3.0, 0.5, 0.5)
    goals = {"near": near, "far": far}
    searched = {
        name: by_search(points(start), search_tree(goal, spacing), spacing, threads=1) for name, goal in goals.items()
    }
    taken: list[str] = []
    for name in ("by_search", "by_slices"):
        way = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *a, name=name, way=way, **k: taken.append(name) or way(*a, **k))
    for name, goal in goals.items():
        assert np.allclose(nearest(start, goal, spacing, threads=1), searched[name], rtol=1e-14, atol=0)
    assert taken == ["by_search", "by_search", "by_search", "by_slices"]  # a sample, all; a sample, maps
    monkeypatch.setattr(module, "FEW_VOXELS", 0)
    nearest(start, near, spacing, threads=1)
    assert taken[4:] == ["by_slices"]
