"""Connected parts of a mask (26 neighbours: vessels may touch at a corner), found slice by slice.

Each slice is labelled by itself, labels that touch across two slices are paired, and the pairs are joined as a graph.
So memory goes with the number of parts and not with the size of the mask, which may be on the disk. The mask is read
once to find the parts and once more for whatever is asked about them.
"""

from collections.abc import Iterable, Iterator, Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

_ROUNDING = 1e-9  # relative
_EIGHT = np.ones((3, 3), dtype=np.bool_)
Plane = NDArray[Any]


class Components:
    """The parts of a mask. `voxels` is the size of each; `mask` gives the same slices (yx) whenever it is read."""

    def __init__(self, mask: Iterable[Plane]) -> None:
        self._mask = mask
        first, former = 0, None
        sizes, pairs, self._firsts = [], [], [0]
        for plane in mask:
            labels, count = _label(plane)
            sizes.append(np.bincount(labels.ravel(), minlength=count + 1)[1:])
            if former is not None:
                pairs.append(_touching(former, labels) + np.array([[self._firsts[-2]], [first]]))
            first, former = first + count, labels
            self._firsts.append(first)
        below, above = np.concatenate(pairs, axis=1) if pairs else np.empty((2, 0), dtype=np.int64)
        graph = coo_array((np.ones(len(below), dtype=np.bool_), (below, above)), shape=(first, first))
        # of each slice's label the part that it belongs to
        self._parts: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        count = 0
        if first:
            count, self._parts = connected_components(graph, directed=False)
        each = np.concatenate(sizes) if sizes else np.empty(0, dtype=np.int64)
        self.voxels = self._sum(each, count)

    def below(self, least_um3: float, spacing_um: Sequence[float]) -> NDArray[np.bool_]:
        """Which parts are smaller than `least_um3`; one of that very size is not, however its product is rounded."""
        small: NDArray[np.bool_] = self.voxels * prod(spacing_um) < least_um3 * (1 - _ROUNDING)
        return small

    def common_with(self, other: Iterable[Plane]) -> NDArray[np.int64]:
        """How many voxels each part shares with the mask `other`."""
        shared = [
            np.bincount(labels[np.asarray(plane, dtype=np.bool_)], minlength=count + 1)[1:]
            for (labels, count), plane in zip(map(_label, self._mask), other, strict=True)
        ]
        return self._sum(np.concatenate(shared) if shared else np.empty(0, dtype=np.int64), len(self.voxels))

    def only(self, chosen: NDArray[np.bool_]) -> Iterator[NDArray[np.bool_]]:
        """The mask's slices with those parts alone for which `chosen` (one a part) is true."""
        for (labels, count), first in zip(map(_label, self._mask), self._firsts, strict=False):
            kept = np.concatenate([[False], chosen[self._parts[first : first + count]]])
            yield kept[labels]

    def _sum(self, each: NDArray[np.int64], count: int) -> NDArray[np.int64]:
        return np.bincount(self._parts, weights=each, minlength=count).astype(np.int64)


def _label(plane: Plane) -> tuple[NDArray[np.int32], int]:
    labels, count = label(plane, structure=_EIGHT)
    return labels, int(count)


def _touching(below: NDArray[np.int32], above: NDArray[np.int32]) -> NDArray[np.int64]:
    """Pairs (2, n), counted from 0, of a label in one slice and one in the next that touch, corners included."""
    found = []
    padded = np.pad(above, 1)
    height, width = below.shape
    for dy in range(3):
        for dx in range(3):
            shifted = padded[dy : dy + height, dx : dx + width]
            both = (below > 0) & (shifted > 0)
            pairs = below[both].astype(np.int64) << 32 | shifted[both]
            found.append(np.unique(pairs))
    unique = np.unique(np.concatenate(found))
    return np.stack([(unique >> 32) - 1, (unique & 0xFFFFFFFF) - 1])
