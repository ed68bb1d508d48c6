"""Shape up to bending: Betti numbers of a whole mask, 26-connected foreground in 6-connected background.

A mask stands for the union of its voxels as closed cubes, in which voxels that share a corner are joined. Of that
solid, b0 counts the pieces, b1 the loops (a torus has one), b2 the closed cavities; beyond the volume's edge is
background.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import generate_binary_structure, label
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

SLAB_SLICES = 8


@dataclass(frozen=True, kw_only=True)
class BettiNumbers:
    """How many pieces, loops and cavities a mask has."""

    b0: int
    b1: int
    b2: int


def betti_numbers(mask_zyx: NDArray[np.bool_]) -> BettiNumbers:
    """Those of `mask_zyx`. Pieces and cavities are counted, loops follow: χ = b0 − b1 + b2 (Euler and Poincaré)."""
    pieces = _count(mask_zyx, connectivity=3)
    background = np.pad(mask_zyx, 1)
    np.logical_not(background, out=background)
    cavities = _count(background, connectivity=1) - 1  # one of its pieces is the outside
    return BettiNumbers(b0=pieces, b1=pieces + cavities - euler_characteristic(mask_zyx), b2=cavities)


def euler_characteristic(mask_zyx: NDArray[np.bool_]) -> int:
    """χ of the voxels as closed cubes: corners − edges + faces − cubes (Kong & Rosenfeld 1989), each counted once.

    Slice by slice, so that no copy of the volume is needed.
    """
    empty = np.zeros([side + 2 for side in mask_zyx.shape[1:]], dtype=np.bool_)
    below, total = empty, 0
    for slice_yx in [*mask_zyx, None]:
        here = empty if slice_yx is None else np.pad(slice_yx, 1)
        # between two slices lie the flat cells, within a slice the upright ones; both have one dimension more upright
        total += _flat_characteristic(below | here) - _flat_characteristic(here)
        below = here
    return total


def _flat_characteristic(pixels_yx: NDArray[np.bool_]) -> int:
    """Corners − edges + faces of pixels as closed squares; the rim of `pixels_yx` is empty."""
    along_y = pixels_yx[:-1] | pixels_yx[1:]
    along_x = pixels_yx[:, :-1] | pixels_yx[:, 1:]
    corners = along_y[:, :-1] | along_y[:, 1:]
    edges = int(np.count_nonzero(along_y)) + int(np.count_nonzero(along_x))
    return int(np.count_nonzero(corners)) - edges + int(np.count_nonzero(pixels_yx))


def _count(mask_zyx: NDArray[np.bool_], connectivity: int) -> int:
    """Number of connected pieces, over faces (1) or over faces, edges and corners (3).

    Slabs are labelled one after the other and joined by the labels that meet between them: labels of a whole volume
    would take four times the memory of the mask.
    """
    structure = generate_binary_structure(3, connectivity)
    joined = [np.zeros((0, 2), dtype=np.int64)]
    total, top = 0, np.zeros(mask_zyx.shape[1:], dtype=np.int64)
    for start in range(0, len(mask_zyx), SLAB_SLICES):
        labels, found = label(mask_zyx[start : start + SLAB_SLICES], structure=structure, output=np.int32)
        joined.append(_meeting(top, _numbered(labels[0], total), structure[0]))
        top = _numbered(labels[-1], total)
        total += found
    edges = np.concatenate(joined)
    graph = coo_array((np.ones(len(edges), dtype=np.bool_), edges.T), shape=(total + 1, total + 1))
    return int(connected_components(graph, directed=False, return_labels=False)) - 1  # 0 is not a label


def _numbered(labels_yx: NDArray[np.int32], before: int) -> NDArray[np.int64]:
    """Labels of a slab's slice counted on from the `before` labels of the slabs below it; 0 stays 0."""
    numbered: NDArray[np.int64] = np.where(labels_yx > 0, labels_yx.astype(np.int64) + before, 0)
    return numbered


def _meeting(
    below_yx: NDArray[np.int64], above_yx: NDArray[np.int64], structure_yx: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """The pairs (n, 2) of labels in neighbouring slices that meet at one of the steps (y, x) of `structure_yx`."""
    height, width = below_yx.shape
    above = np.pad(above_yx, 1)
    pairs = []
    for y, x in np.argwhere(structure_yx):
        shifted = above[y : y + height, x : x + width]
        both = (below_yx > 0) & (shifted > 0)
        met = np.stack([below_yx[both], shifted[both]], axis=1)
        # along a row the same two labels meet again and again
        pairs.append(met[np.any(np.diff(met, axis=0, prepend=0) != 0, axis=1)])
    return np.concatenate(pairs)
