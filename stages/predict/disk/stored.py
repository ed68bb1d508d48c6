"""A stack that stays in its file and is read in parts, where its format can be: OME-Zarr, HDF5 and most TIFFs."""

import contextlib
import itertools
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from stages.common.errors import CapillaryError, DataError, UsageError
from stages.common.imaging.formats.channels import Channel
from stages.common.imaging.reading import open_stack
from stages.common.imaging.zyx import Box, Spacing
from stages.common.tiling.volume import DiskVolume
from stages.predict.disk.scratch import Scratch

_SLABS = itertools.count()  # several volumes may share a scratch


class StoredVolume:
    """The voxels of `file`, in the machine's order of bytes. To iterate over it gives its slices. A context manager.

    While slices are read one after the other, those of one layer of chunks are in `scratch`, so that each chunk is
    unpacked once and memory holds a slice and a row of chunks.
    """

    def __init__(self, file: Path, channel: Channel, scratch: Scratch, level_um: Spacing | None = None) -> None:
        """Open `file`. Raises DataError for a damaged one, CapillaryError (usage) for one that is not read in parts."""
        self._file, self._scratch = file, scratch
        self._opened = contextlib.ExitStack()
        try:
            stack = self._opened.enter_context(open_stack(file, channel, level_um))
            if stack.regions is None:
                raise _only_whole(file)
        except BaseException:
            self._opened.close()
            raise
        self._regions, self.shape, native = stack.regions, stack.shape_zyx, stack.dtype
        self.dtype = np.dtype(np.float64) if native.kind == "f" and native.itemsize > 8 else native

    def read_box(self, box: Box) -> NDArray[Any]:
        """The voxels in `box` (z, y, x). Raises DataError for a damaged file, and for values that are no numbers."""
        voxels = self._regions.read(box).astype(self.dtype, copy=False)
        for z, plane in enumerate(voxels, start=box[0].start):
            if not np.isfinite(plane).all():
                raise DataError(
                    f"the stack holds NaN or infinite values in slice {z + 1}",
                    remedy="replace them (by the background's value) and save it again",
                    file=self._file.name,
                )
        return voxels

    def read(self, z: slice, y: slice) -> NDArray[Any]:
        """Rows `y` of the slices `z`, whole along x (z, y, x)."""
        return self.read_box((z, y, slice(0, self.shape[2])))

    def __iter__(self) -> Iterator[NDArray[Any]]:
        """Each slice (yx)."""
        depth, height, _ = self._regions.chunks_zyx
        rows, columns = self.shape[1:]
        for first in range(0, self.shape[0], depth):
            z = slice(first, min(first + depth, self.shape[0]))
            file = self._scratch.file(f"slab{next(_SLABS)}")
            with DiskVolume(file, (z.stop - z.start, rows, columns), self.dtype) as slab:
                for row in range(0, rows, height):
                    slab.write(0, row, self.read(z, slice(row, min(row + height, rows))))
                yield from slab

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.close()


def _only_whole(file: Path) -> CapillaryError:
    return UsageError(
        "this stack cannot be predicted by blocks: its format is not read in parts",
        file=file.name,
        remedy="save it as OME-Zarr, HDF5 or a TIFF of one page per slice, or leave --blocks out",
    )
