"""The centreline of a mask: thinning in 3D that loses no piece, no loop and no cavity.

As by Lee, Kashyap and Chu (1994, CVGIP 56(6)), one layer after the other is taken off, from six sides in turn. A voxel
goes where it is simple, and stays where it is the end of a line, that is, where it has one neighbour. Both are asked
twice, because what goes changes the answer for what is left: of the mask as the pass from that side finds it, and again
when the voxel's own turn comes. Turns are eight, one for each parity of z, y and x. Voxels of one turn are no
neighbours, so all of them go at once.

(The thinning of scikit-image, method "lee", asks again for simple points only, not for ends, and takes a last voxel for
a simple one. So it eats vessels of even width from their ends, whole ones among them.)

An end has one exception: a voxel with mask under it when the pass begins, from whose sides the neighbours went in this
pass, is a bump on a surface and no line. If it stayed, each bump would grow an arm.

Thinning works on voxels and knows no spacing. A straight tube loses about its radius at each end.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects

from stages.common.imaging.masks.simple_points import Codes, are_simple, codes_at, neighbour_steps

Mask = NDArray[np.bool_]
Places = NDArray[np.int64]

_AT_ONCE = 1 << 17  # neighbourhoods: 26 places of 8 bytes each


def skeleton(mask_zyx: Mask) -> Mask:
    """Centreline of `mask_zyx` (z, y, x): a part of it with the same pieces (26 neighbours), loops and cavities."""
    line = np.zeros_like(mask_zyx)
    # turns count from the corner of what the mask fills: it has one centreline, wherever in a volume it lies
    for box in find_objects(mask_zyx.view(np.uint8)):
        filled = mask_zyx[box]
        line[box] = _thin_box(filled.shape) if filled.all() else _thin(filled)
    return line


def _thin_box(shape_zyx: tuple[int, ...]) -> Mask:
    """The centreline of a solid box, such as a volume that is foreground throughout to a network that learnt nothing.

    All that thinning does to a solid box until its shortest side is 2 or 3 is to take one layer after the other off:
    that is arithmetic. An even number of layers leaves every voxel its turn.
    """
    layers = max((min(shape_zyx) - 2) // 4 * 2, 0)
    core = np.ones([side - 2 * layers for side in shape_zyx], dtype=np.bool_)
    return np.pad(_thin(core), layers)


def _thin(mask_zyx: Mask) -> Mask:
    padded = np.pad(mask_zyx, 1).view(np.uint8)
    thinning = _Thinning(padded)
    while thinning.take_layer():
        pass
    left: Mask = padded.view(np.bool_)[1:-1, 1:-1, 1:-1]
    return left


class _Thinning:
    """Thins `padded` {0, 1} (zyx, with a rim of background) in place."""

    def __init__(self, padded: NDArray[np.uint8]) -> None:
        self._shape = padded.shape
        self._mask = padded.reshape(-1)
        self._left: Places = np.flatnonzero(self._mask)
        depth, height, width = self._shape
        self._around = neighbour_steps((depth, height, width))
        along_z, along_y, along_x = height * width, width, 1
        self._sides = (along_y, -along_y, along_x, -along_x, -along_z, along_z)

    def take_layer(self) -> bool:
        """Take a layer off from each side; whether anything went."""
        before = len(self._left)
        for side in self._sides:
            outer = self._left[self._mask[self._left + side] == 0]
            codes = self._codes(outer)
            chosen = outer[are_simple(codes) & ~_are_ends(codes)]
            if len(chosen):
                self._take(chosen, is_flat=self._mask[chosen - side] == 0)
                self._left = self._left[self._mask[self._left] != 0]
        return len(self._left) < before

    def _take(self, places: Places, *, is_flat: Mask) -> None:
        z, y, x = np.unravel_index(places, self._shape)
        turns = (z & 1) * 4 + (y & 1) * 2 + (x & 1)
        for turn in np.flatnonzero(np.bincount(turns)):  # in a small mask, most turns have no voxel
            now = np.flatnonzero(turns == turn)
            codes = self._codes(places[now])
            goes = are_simple(codes) & ~(_are_ends(codes) & is_flat[now])
            self._mask[places[now[goes]]] = 0

    def _codes(self, places: Places) -> Codes:
        parts = [places[start : start + _AT_ONCE] for start in range(0, len(places), _AT_ONCE)]
        return np.concatenate([codes_at(self._mask, part, self._around) for part in parts or [places]])


def _are_ends(codes: Codes) -> Mask:
    """Which neighbourhoods hold one voxel of the mask, or none."""
    ends: Mask = codes & (codes - np.uint32(1)) == 0
    return ends
