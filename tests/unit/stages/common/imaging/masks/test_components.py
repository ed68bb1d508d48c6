"""Connected parts against scipy's labelling of the whole mask."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import label

from stages.common.imaging.masks.components import Components


@settings(max_examples=80, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 7), st.integers(1, 12), st.integers(1, 12)),
    share=st.sampled_from([0.0, 0.05, 0.15, 0.4, 1.0]),
    seed=st.integers(0, 1000),
)
def test_parts_are_those_of_the_whole_mask(shape: tuple[int, int, int], share: float, seed: int) -> None:
    """Sizes, overlaps and what is left of the mask: as scipy has them with all 26 neighbours."""
    rng = np.random.default_rng(seed)
    mask, other = rng.random(shape) < share, rng.random(shape) < 0.5
    labels, count = label(mask, structure=np.ones((3, 3, 3)))
    parts = Components(mask)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    assert sorted(parts.voxels) == sorted(sizes)
    shared = np.bincount(labels[other], minlength=count + 1)[1:]
    found = parts.common_with(other)
    assert sorted(zip(parts.voxels, found, strict=True)) == sorted(zip(sizes, shared, strict=True))
    left = np.array(list(parts.only(parts.voxels >= 3)))
    np.testing.assert_array_equal(left, mask & np.concatenate([[False], sizes >= 3])[labels])


@pytest.mark.parametrize("turn", [(0, 1, 2), (1, 0, 2), (2, 1, 0)])
def test_a_corner_joins(turn: tuple[int, int, int]) -> None:
    """A diagonal line is one part, whichever way it runs; a gap of one voxel makes two."""
    mask = np.zeros((6, 6, 6), dtype=np.bool_)
    mask[range(6), range(6), range(6)] = True
    mask = mask.transpose(turn)[:, ::-1]
    assert Components(mask).voxels.tolist() == [6]
    mask[2] = False
    assert sorted(Components(mask).voxels) == [2, 3]


def test_masks_of_different_depths_are_refused() -> None:
    """Both masks must have the same number of slices."""
    mask = np.ones((3, 4, 4), dtype=np.bool_)
    for depth in (2, 4):
        with pytest.raises(ValueError, match="argument 2"):
            Components(mask).common_with(np.ones((depth, 4, 4), dtype=np.bool_))


def test_any_value_but_zero_is_in_the_other_mask() -> None:
    """A label of 0 and 255 overlaps exactly as its boolean form does."""
    rng = np.random.default_rng(0)
    mask, other = rng.random((4, 9, 9)) < 0.2, rng.random((4, 9, 9)) < 0.5
    parts = Components(mask)
    expected = parts.common_with(other)
    assert expected.sum() == np.count_nonzero(mask & other)
    np.testing.assert_array_equal(parts.common_with(other * np.uint8(255)), expected)


def test_no_slices_have_no_parts() -> None:
    """An empty mask gives empty counts, empty overlaps and no slices."""
    parts = Components([])
    assert parts.voxels.tolist() == []
    assert parts.common_with([]).tolist() == []
    assert list(parts.only(parts.voxels > 0)) == []


@pytest.mark.parametrize("spacing", [("5", "0.994", "0.994"), ("1", "0.7", "0.7"), ("0.3", "0.3", "0.3")])
def test_a_part_of_the_very_size_is_not_below_it(spacing: tuple[str, ...]) -> None:
    """For every number of voxels, against exact arithmetic: 9 × (5 × 0.994 × 0.994) is 44.46162, not a digit less."""
    exact, steps = math.prod(map(Fraction, spacing)), [float(step) for step in spacing]
    sizes = range(1, 40)
    mask = np.zeros((1, 2 * len(sizes), 40), dtype=np.bool_)
    for row, size in enumerate(sizes):
        mask[0, 2 * row, :size] = True
    parts = Components(mask)
    for size in sizes:
        assert sorted(parts.voxels[parts.below(float(size * exact), steps)]) == list(range(1, size))
