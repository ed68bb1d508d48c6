"""Boxes that are labelled throughout: where centrelines, surfaces and topology can be measured in a partial annotation.

A vessel that is not labelled has no known end, loop or border. So what depends on them is measured in blocks only: the
connected pieces (over faces) of the labelled voxels that are boxes, such as whole slices, slabs and cubes. Each counts
as its own volume, and the volume's value is the mean over its blocks, weighted by their voxels. Blocks in which
neither mask has a voxel say nothing, and are left out where another one does.
"""

from collections.abc import Sequence
from math import prod

import numpy as np
from scipy.ndimage import find_objects, label

from stages.common.imaging.zyx import Box
from stages.evaluate.metrics.nearest import Mask

LEAST_SIDE = 8  # voxels in y and x: in less there is hardly a vessel's course


def labelled_blocks(labelled_zyx: Mask) -> list[Box]:
    """The boxes, in the order of their first voxels; none if labelled voxels are scattered or of another form."""
    pieces, _ = label(labelled_zyx)
    return [
        (box[0], box[1], box[2])
        for number, box in enumerate(find_objects(pieces), start=1)
        if _is_large(box) and bool((pieces[box] == number).all())
    ]


def telling(blocks: Sequence[Box], masks: Sequence[Mask]) -> list[Box]:
    """The blocks in which one of `masks` has a voxel; all of them where none has."""
    return [box for box in blocks if any(mask[box].any() for mask in masks)] or list(blocks)


def weighted_mean(values: Sequence[float], blocks: Sequence[Box]) -> float:
    """Of one value per block, by the blocks' voxels; NaN if there is none."""
    return float(np.average(values, weights=[voxels_of(box) for box in blocks])) if blocks else float("nan")


def voxels_of(box: Box) -> int:
    """How many voxels a box has."""
    return prod(side.stop - side.start for side in box)


def _is_large(box: tuple[slice, ...]) -> bool:
    return all(side.stop - side.start >= LEAST_SIDE for side in box[1:])
