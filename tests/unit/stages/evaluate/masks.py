"""Masks and brute-force answers for tests of the metrics."""

import math

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Spacing = tuple[float, float, float]

spacings = st.tuples(*[st.sampled_from([0.5, 1.0, 2.485, 5.0])] * 3)


@st.composite
def mask_pairs(draw: st.DrawFn) -> tuple[Mask, Mask]:
    """Two masks of one small shape: noise of varied density, empty and full ones among them."""
    shape = draw(array_shapes(min_dims=3, max_dims=3, max_side=6))
    first, second = (draw(arrays(np.uint8, shape, elements=st.integers(0, 9))) for _ in range(2))
    levels = draw(st.tuples(st.integers(0, 10), st.integers(0, 10)))
    return first < levels[0], second < levels[1]


def brute_border(mask: Mask) -> list[tuple[int, ...]]:
    def inside(voxel: tuple[int, ...]) -> bool:
        return all(0 <= v < s for v, s in zip(voxel, mask.shape, strict=True)) and bool(mask[voxel])

    steps = [(-1, 0, 0), (1, 0, 0), (0, -1, 0), (0, 1, 0), (0, 0, -1), (0, 0, 1)]
    voxels = [tuple(map(int, voxel)) for voxel in np.argwhere(mask)]
    return [
        voxel
        for voxel in voxels
        if not all(inside(tuple(v + d for v, d in zip(voxel, step, strict=True))) for step in steps)
    ]


def brute_distances(prediction: Mask, reference: Mask, spacing: tuple[float, ...]) -> tuple[list[float], list[float]]:
    """From each border voxel of one mask to the nearest of the other, over all pairs, in both directions."""

    def scaled(voxels: list[tuple[int, ...]]) -> list[tuple[float, ...]]:
        return [tuple(v * s for v, s in zip(voxel, spacing, strict=True)) for voxel in voxels]

    one, other = (scaled(brute_border(mask)) for mask in (prediction, reference))
    return tuple([min(math.dist(a, b) for b in goal) for a in start] for start, goal in ((one, other), (other, one)))


def brute_percentile(values: list[float], percent: float) -> float:
    """Between the two ordered values that the rank (n − 1)·percent/100 falls between, linearly."""
    ordered = sorted(values)
    rank = (len(ordered) - 1) * percent / 100
    below = math.floor(rank)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (rank - below) * (ordered[above] - ordered[below])


def ball(shape: tuple[int, int, int], centre: tuple[int, int, int], radius: float) -> Mask:
    grid = np.indices(shape)
    return sum((grid[axis] - centre[axis]) ** 2 for axis in range(3)) <= radius**2


def line(shape: tuple[int, int, int], y: int, x: slice) -> Mask:
    mask = np.zeros(shape, dtype=np.bool_)
    mask[1, y, x] = True
    return mask
