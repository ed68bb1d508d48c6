"""An open stack of any format: what is known of it, and its slices."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.common.errors import DataError
from stages.common.imaging.formats.claims import FLOAT, refuse_large
from stages.common.imaging.formats.damage import GREY_VALUES
from stages.common.imaging.formats.geometry import Geometry
from stages.common.imaging.formats.header import StackHeader
from stages.common.imaging.zyx import Box

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

    `describe` gives its header. `at_once` is how many slices are in memory together while they are read one after the
    other. `geometry` says where it is in the world, if its file does. `regions` is None where a part cannot be read
    without the slices before it. `whole` reads all voxels where that is not the slices put together: it and the slices
    of such a stack themselves refuse what memory does not hold.
    """

    path: Path
    shape_zyx: tuple[int, int, int]
    dtype: np.dtype[Any]
    describe: Callable[[], StackHeader]
    slices: Callable[[], Iterator[NDArray[Any]]]
    at_once: int = 1
    geometry: Geometry | None = None
    regions: Regions | None = None
    whole: Callable[[], NDArray[Any]] | None = None

    @cached_property
    def header(self) -> StackHeader:
        """What the file says about itself. Of a boolean TIFF it may take the voxels to tell."""
        return self.describe()

    def read_slices(self) -> Iterator[NDArray[Any]]:
        """The slices. Raises TooLargeError if memory does not hold those that are read at once."""
        if self.whole is None:
            self._refuse_large(min(self.at_once, self.shape_zyx[0]))
        yield from self.slices()

    def read(self) -> NDArray[Any]:
        """All voxels. Raises TooLargeError if memory does not hold them."""
        if self.whole is not None:
            return self.whole()
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
