"""A box of the volume, predicted by itself, is to the last bit what it is in the whole volume."""

import itertools
from math import prod
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from stages.common.requests.prediction.grid import BLOCK_VOXELS, BlockGrid, choose_block, chunk_files, chunk_shape
from stages.common.tiling.tiles import Tiling, predict_slices, tile
from stages.predict.blocks.regions import region_of

Shape = tuple[int, int, int]
BATCH = 3


def probability(patches: torch.Tensor) -> torch.Tensor:
    """Depends on the neighbours within a patch, and on the other patches of the batch, as real kernels may."""
    mixed = patches + 0.5 * patches.roll(1, -1) - 0.3 * patches.roll(1, -3)
    return torch.sigmoid(mixed + 1e-3 * patches.sum(0, keepdim=True))


def predicted(image: NDArray[np.float32], tiling: Tiling, ring: Path) -> NDArray[np.float32]:
    slices = predict_slices(lambda z, y: image[z, y], probability, tiling, ring, BATCH, lambda: None)
    return np.stack(list(slices))


@settings(max_examples=40, deadline=None, derandomize=True)
@example(shape=(3, 2, 5), patch=(4, 4, 4), overlap=0.5, block=(2, 1, 3))
@given(
    shape=st.tuples(st.integers(1, 9), st.integers(1, 14), st.integers(1, 18)),
    patch=st.tuples(st.integers(1, 6), st.integers(2, 7), st.integers(2, 7)),
    overlap=st.sampled_from([0.0, 0.25, 0.5, 0.7]),
    block=st.tuples(st.integers(1, 9), st.integers(1, 14), st.integers(2, 18)),
)
def test_blocks_of_any_size_equal_the_whole(
    tmp_path_factory: pytest.TempPathFactory, shape: Shape, patch: Shape, overlap: float, block: Shape
) -> None:
    """Any volume, patch, overlap and block; what is read is the block and what its patches reach."""
    ring = tmp_path_factory.getbasetemp() / "ring"
    image = np.random.default_rng(0).random(shape, dtype=np.float32)
    tiling = tile(shape, patch, overlap)
    whole = predicted(image, tiling, ring)
    grid = BlockGrid(shape_zyx=shape, block_zyx=block)
    joined = np.full(shape, np.nan, dtype=np.float32)
    for number in range(grid.count):
        box = grid.box(number)
        region = region_of(tiling, box, BATCH)
        assert np.isnan(joined[box]).all()  # no voxel is in two blocks
        joined[box] = predicted(image[region.outer], region.tiling, ring)[region.inner]
        assert all(
            part.stop - part.start <= own.stop - own.start + 2 * length
            for part, own, length in zip(region.outer[:2], box[:2], patch[:2], strict=True)
        )
    np.testing.assert_array_equal(joined, whole)


@given(
    shape=st.tuples(st.integers(1, 70), st.integers(1, 900), st.integers(1, 900)),
    wanted=st.tuples(st.integers(1, 90), st.integers(1, 900), st.integers(1, 900)),
)
@settings(max_examples=50, deadline=None, derandomize=True)
def test_each_chunk_belongs_to_one_block(shape: Shape, wanted: Shape) -> None:
    """So no two blocks write into one file; a block is at least as large as asked for, within the stack."""
    block = choose_block(shape, (4, 16, 16), wanted)
    grid = BlockGrid(shape_zyx=shape, block_zyx=block)
    files = [file for number in range(grid.count) for file in chunk_files(grid.box(number), shape)]
    counts = [-(-size // chunk) for size, chunk in zip(shape, chunk_shape(shape), strict=True)]
    assert sorted(files) == sorted(f"0/{z}/{y}/{x}" for z, y, x in itertools.product(*map(range, counts)))
    assert all(own >= min(size, whole) for own, size, whole in zip(block, wanted, shape, strict=True))


@pytest.mark.parametrize(
    ("shape", "patch", "chosen"),
    [
        ((15, 300, 280), (12, 96, 96), (15, 512, 512)),  # one block
        ((4000, 9000, 9000), (96, 96, 96), (672, 768, 512)),
        ((4000, 9000, 9000), (12, 96, 96), (160, 1280, 1280)),
        ((20, 200_000, 300), (12, 96, 96), (32, 44544, 512)),
    ],
)
def test_the_size_of_a_block_suits_the_patch(shape: Shape, patch: Shape, chosen: Shape) -> None:
    """Whole chunks, at most 2²⁸ voxels, long where a patch is."""
    assert choose_block(shape, patch, None) == chosen
    assert prod(min(a, b) for a, b in zip(chosen, shape, strict=True)) <= BLOCK_VOXELS


def test_a_block_that_is_not_there_is_refused() -> None:
    """Numbers come from a request."""
    with pytest.raises(IndexError):
        BlockGrid(shape_zyx=(10, 10, 10), block_zyx=(5, 10, 10)).box(2)
