"""An open stack of any format: what is known of it, and its slices."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.common.errors import DataError
from stages.common.imaging.foreign.axes import Box
from stages.common.imaging.formats.claims import FLOAT, refuse_large
from stages.common.imaging.formats.damage import GREY_VALUES
from stages.common.imaging.formats.geometry import Geometry
from stages.common.imaging.formats.header import StackHeader

KINDS = "biuf"  # of voxels: boolean, integers, floats
MAX_ITEM = 8  # bytes of one


@dataclass(frozen=True, kw_only=True)
class Regions:
    """Reading in parts: `read` gives the voxels in a box (z, y, x), and unpacks whole chunks of `chunks_zyx`."""

    read: Callable[[Box], NDArray[Any]]
    chunks_zyx: tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class OpenStack:
    """A stack (z, y, x) whose voxels are read when `slices` is called, each a plane (yx), in the order of z.

    `at_once` is how many slices are in memory together while they are read one after the other. `geometry` says where
    it is in the world, if its file does. `regions` is None where a part cannot be read without the slices before it.
    """

    path: Path
    shape_zyx: tuple[int, int, int]
    dtype: np.dtype[Any]
    header: StackHeader
    slices: Callable[[], Iterator[NDArray[Any]]]
    at_once: int = 1
    geometry: Geometry | None = None
    regions: Regions | None = None

    def read_slices(self) -> Iterator[NDArray[Any]]:
        """The slices. Raises TooLargeError if memory does not hold those that are read at once."""
        self._refuse_large(min(self.at_once, self.shape_zyx[0]))
        yield from self.slices()

    def read(self) -> NDArray[Any]:
        """All voxels. Raises TooLargeError if memory does not hold them."""
        depth = self.shape_zyx[0]
        self._refuse_large(depth + (self.at_once if self.at_once < depth else depth))
        voxels = np.empty(self.shape_zyx, self.dtype)
        for z, plane in enumerate(self.slices()):
            voxels[z] = plane
        return voxels

    def _refuse_large(self, depth: int) -> None:
        plane = math.prod(self.shape_zyx[1:])
        size = self.dtype.itemsize
        refuse_large(
            plane * depth * size + plane * min(depth, self.shape_zyx[0]) * FLOAT, plane * depth * size, self.path
        )


def check_dtype(dtype: np.dtype[Any], path: Path) -> None:
    """Raise DataError if values of `dtype` are not numbers, such as objects that a reader would have to unpickle."""
    if dtype.kind not in KINDS or dtype.itemsize > MAX_ITEM or dtype.fields is not None:
        raise DataError(
            f"its voxels are {dtype}, which is not supported",
            remedy=GREY_VALUES,
            file=path,
        )
