"""Volumes on the disk that are read and written in parts.

Not memory-mapped: mapped pages count as this process's memory until the system takes them back.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from stages.common.imaging.zyx import Shape


class Volume(Protocol):
    """A volume (z, y, x) that is read in parts. To iterate over it gives its slices (yx), as often as it is done."""

    @property
    def shape(self) -> Shape:
        """Its size."""

    def read(self, z: slice, y: slice, /) -> NDArray[Any]:
        """Rows `y` of the slices `z`, whole along x (z, y, x)."""

    def __iter__(self) -> Iterator[NDArray[Any]]:
        """Each slice (yx)."""


class DiskVolume:
    """A volume (z, y, x) in its own file, all zeros at first. To iterate over it gives its slices.

    A context manager: the file is removed at its end.
    """

    def __init__(self, file: Path, shape_zyx: Shape, dtype: DTypeLike) -> None:
        """Make the file; what was never written takes no room on most file systems."""
        self.shape, self.dtype = shape_zyx, np.dtype(dtype)
        self._file = file
        self._stream = file.open("w+b")
        self._stream.truncate(self.bytes)

    @property
    def bytes(self) -> int:
        """What it takes on the disk."""
        return math.prod(self.shape) * self.dtype.itemsize

    def read(self, z: slice, y: slice) -> NDArray[Any]:
        """Rows `y` of the slices `z`, whole along x: a new array (z, y, x). Neither slice has a step."""
        block = np.empty((z.stop - z.start, y.stop - y.start, self.shape[2]), dtype=self.dtype)
        for index, plane in enumerate(block, start=z.start):
            self._seek(index, y.start)
            if self._stream.readinto(plane.data.cast("B")) != plane.nbytes:
                raise EOFError(f"{self._file} is shorter than it was")
        return block

    def write(self, z: int, y: int, block: NDArray[Any]) -> None:
        """Put `block` (z, y, x), whole along x, where its first row is `y` of slice `z`."""
        for index, plane in enumerate(np.ascontiguousarray(block, dtype=self.dtype), start=z):
            self._seek(index, y)
            self._stream.write(plane.data.cast("B"))

    def append(self, planes: Iterator[NDArray[Any]]) -> Self:
        """Write `planes` (yx) as the slices from the first one on."""
        for z, plane in enumerate(planes):
            self.write(z, 0, plane[None])
        return self

    def __iter__(self) -> Iterator[NDArray[Any]]:
        """Each slice (yx), read when it is asked for."""
        for z in range(self.shape[0]):
            yield self.read(slice(z, z + 1), slice(0, self.shape[1]))[0]

    def _seek(self, z: int, y: int) -> None:
        self._stream.seek((z * self.shape[1] + y) * self.shape[2] * self.dtype.itemsize)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()
        self._file.unlink(missing_ok=True)
