"""Simple points: voxels that can change between vessel and background without changing the topology of the mask.

In 3D, with vessels connected over 26 neighbours and background over 6, a voxel is simple exactly if (Bertrand and
Malandain 1994, "A new characterization of three-dimensional simple points", Pattern Recognition Letters 15)

    T26 = 1   its 26 neighbours hold one 26-connected piece of vessel, and
    T6  = 1   its 18 neighbours hold one 6-connected piece of background that meets its 6 neighbours.

Neither depends on the voxel itself, so the test serves for adding a voxel and for removing it.

A neighbourhood is a code of 26 bits, in the order z, y, x without the centre. The pieces are found by flooding: shifts
and masks on many codes at once. There are 2^26 codes, and a training meets a few ten thousand of them again and again:
answers are kept in a table, filled as they are asked for; memory is taken by the page, 64 MiB at the very most.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.uint32]

_CUBE = np.stack(np.meshgrid(*[np.arange(3)] * 3, indexing="ij"), axis=-1).reshape(27, 3)  # zyx of each bit
_STEPS = np.abs(_CUBE - 1).sum(axis=1)  # from the centre: 0, faces 1, edges 2, corners 3
_CENTRE_BIT = 13


def _bits(chosen: NDArray[np.bool_]) -> np.uint32:
    return np.uint32(sum(1 << int(bit) for bit in np.flatnonzero(chosen)))


_FACES, _FACES_AND_EDGES = _bits(_STEPS == 1), _bits((_STEPS == 1) | (_STEPS == 2))
_BELOW_CENTRE = np.uint32((1 << _CENTRE_BIT) - 1)
# along each axis: how far the next voxel's bit is, and the bits that have a next one, and a previous one
_AXES = tuple(
    (np.uint32(distance), _bits(_CUBE[:, axis] < 2), _bits(_CUBE[:, axis] > 0))
    for axis, distance in enumerate((9, 3, 1))
)

_UNKNOWN, _SIMPLE = 0, 1  # 2: known not to be simple
_table = np.zeros(1 << 26, np.uint8)


def neighbour_steps(shape_zyx: tuple[int, int, int]) -> NDArray[np.int64]:
    """Steps (26,) in a flattened volume of that shape from a voxel to its neighbours, in the order of a code's bits."""
    _, rows, columns = shape_zyx
    steps: NDArray[np.int64] = np.delete(_CUBE - 1, _CENTRE_BIT, axis=0) @ np.array([rows * columns, columns, 1])
    return steps


def codes_at(mask: NDArray[np.uint8], places: NDArray[np.int64], steps: NDArray[np.int64]) -> Codes:
    """The codes of the neighbourhoods of `places` (N,) in the flattened `mask` of {0, 1}; none may lie on its rim."""
    bits = np.packbits(mask[places[:, None] + steps], axis=1, bitorder="little")  # 26 of 32, in 4 bytes
    codes: Codes = bits.view("<u4")[:, 0]
    return codes


def are_simple(codes: Codes) -> NDArray[np.bool_]:
    """Which neighbourhoods (N,) have a simple point in their centre."""
    answers = _table[codes]
    unknown = codes[answers == _UNKNOWN]
    if len(unknown):
        _table[unknown] = np.where(compute_simple(unknown), _SIMPLE, 2)
        answers = _table[codes]
    simple: NDArray[np.bool_] = answers == _SIMPLE
    return simple


def compute_simple(codes: Codes) -> NDArray[np.bool_]:
    """The same by T26 and T6, without the table."""
    vessel = (codes & _BELOW_CENTRE) | ((codes >> np.uint32(_CENTRE_BIT)) << np.uint32(_CENTRE_BIT + 1))
    background = ~vessel & _FACES_AND_EDGES
    faces = background & _FACES
    one_vessel = (vessel != 0) & (_flooded(_first(vessel), vessel, _grow_26) == vessel)
    one_background = (faces != 0) & (_flooded(_first(faces), background, _grow_6) & _FACES == faces)
    both: NDArray[np.bool_] = one_vessel & one_background
    return both


def _first(bits: Codes) -> Codes:
    """The lowest bit of each, 0 if there is none."""
    return bits & (~bits + np.uint32(1))


def _flooded(seed: Codes, within: Codes, grow: Callable[[Codes], Codes]) -> Codes:
    """What `seed` reaches within `within`."""
    reached = seed & within
    while True:
        wider = grow(reached) & within
        if np.array_equal(wider, reached):
            return reached
        reached = wider


def _grow_26(bits: Codes) -> Codes:
    for distance, has_next, has_previous in _AXES:
        bits = bits | ((bits & has_next) << distance) | ((bits & has_previous) >> distance)
    return bits


def _grow_6(bits: Codes) -> Codes:
    grown = bits
    for distance, has_next, has_previous in _AXES:
        grown = grown | ((bits & has_next) << distance) | ((bits & has_previous) >> distance)
    return grown
