"""Topology of small volumes counted with scipy and scikit-image: what the fast code is compared with."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import euler_number

FACES = ndimage.generate_binary_structure(3, 1)
FACES_AND_EDGES = ndimage.generate_binary_structure(3, 2)
ALL = np.ones((3, 3, 3), dtype=bool)


def betti_numbers(mask: NDArray[np.bool_]) -> tuple[int, int, int]:
    """Pieces, loops and cavities of `mask` (26 neighbours; background 6), background beyond it."""
    padded = np.pad(mask, 1)
    pieces = ndimage.label(padded, ALL)[1]
    cavities = ndimage.label(~padded, FACES)[1] - 1
    return pieces, pieces + cavities - int(euler_number(padded, connectivity=3)), cavities


def is_simple(cube: NDArray[np.bool_]) -> bool:
    """Whether the centre of a 3×3×3 neighbourhood is simple, by the definition of T26 and T6."""
    around = ALL.copy()
    around[1, 1, 1] = False
    vessel = ndimage.label(cube & around, ALL)[1]
    background, _ = ndimage.label(~cube & around & FACES_AND_EDGES, FACES)
    meeting_faces = set(background[FACES & around].tolist()) - {0}
    return vessel == 1 and len(meeting_faces) == 1
