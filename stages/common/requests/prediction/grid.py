"""How a stack is cut into blocks. Standard library alone: the host asks, too.

Blocks consist of whole chunks of the store that is written, so that no two of them write into one file.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

from stages.common.imaging.zyx import Box, Shape
from stages.common.requests.prediction.chunks import CHUNK_ZYX, LEVEL

BLOCK_VOXELS = 2**28  # of a block whose size nobody asked for


@dataclass(frozen=True, kw_only=True)
class BlockGrid:
    """Blocks of `block_zyx` voxels over a stack; those at its end are smaller."""

    shape_zyx: Shape
    block_zyx: Shape

    @property
    def count(self) -> int:
        """How many blocks there are."""
        return prod(self._counts())

    def box(self, number: int) -> Box:
        """Where the block `number` (from 0, along x first) is in the stack. Raises IndexError for another one."""
        if not 0 <= number < self.count:
            raise IndexError(number)
        _, rows, columns = self._counts()
        places = (number // (rows * columns), number // columns % rows, number % columns)
        z, y, x = (
            slice(place * block, min((place + 1) * block, size))
            for place, block, size in zip(places, self.block_zyx, self.shape_zyx, strict=True)
        )
        return z, y, x

    def number_at(self, voxel_zyx: Shape) -> int | None:
        """The block that holds a voxel; None outside of the stack."""
        if not all(0 <= place < size for place, size in zip(voxel_zyx, self.shape_zyx, strict=True)):
            return None
        _, rows, columns = self._counts()
        z, y, x = (place // block for place, block in zip(voxel_zyx, self.block_zyx, strict=True))
        return (z * rows + y) * columns + x

    def _counts(self) -> Shape:
        z, y, x = (-(-size // block) for size, block in zip(self.shape_zyx, self.block_zyx, strict=True))
        return z, y, x


def choose_block(shape_zyx: Shape, patch_voxels: Shape, wanted_zyx: Shape | None) -> Shape:
    """The size of a block in voxels: `wanted_zyx` in whole chunks, else the best one of at most BLOCK_VOXELS.

    Each block also computes the patches that cross its border. So it grows where a patch is the largest share of it.
    """
    if wanted_zyx is not None:
        return _in_chunks(wanted_zyx, shape_zyx)
    chosen, chunks = _in_chunks(patch_voxels, shape_zyx), chunk_shape(shape_zyx)
    while True:
        grown = {axis: _grown(chosen, axis, chunks[axis]) for axis in range(3) if chosen[axis] < shape_zyx[axis]}
        fitting = [axis for axis, block in grown.items() if prod(_least(block, shape_zyx)) <= BLOCK_VOXELS]
        if not fitting:
            return chosen
        shares = {axis: patch_voxels[axis] / chosen[axis] for axis in fitting}
        chosen = grown[max(shares, key=shares.__getitem__)]


def _least(one: Shape, other: Shape) -> Shape:
    z, y, x = (min(pair) for pair in zip(one, other, strict=True))
    return z, y, x


def _grown(block_zyx: Shape, axis: int, step: int) -> Shape:
    z, y, x = (size + step * (number == axis) for number, size in enumerate(block_zyx))
    return z, y, x


def chunk_shape(shape_zyx: Shape) -> Shape:
    """Of the store that is written."""
    return _least(CHUNK_ZYX, shape_zyx)


def chunk_files(box: Box, shape_zyx: Shape) -> Iterator[str]:
    """Names of the chunks of `box` in a store of `shape_zyx`, such as `0/3/0/12`."""
    sizes = chunk_shape(shape_zyx)
    ranges = [range(part.start // size, -(-part.stop // size)) for part, size in zip(box, sizes, strict=True)]
    return ("/".join(map(str, (LEVEL, *place))) for place in itertools.product(*ranges))


def _in_chunks(size_zyx: Shape, shape_zyx: Shape) -> Shape:
    """`size_zyx` in whole chunks, and no larger than the stack needs."""
    z, y, x = (
        min(-(-size // chunk), -(-whole // chunk)) * chunk
        for size, chunk, whole in zip(size_zyx, chunk_shape(shape_zyx), shape_zyx, strict=True)
    )
    return z, y, x
