"""A stack's slices one after the other, so that no more than one of them need be in memory."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import tifffile
from numpy.typing import NDArray

from stages.common.imaging.stacks import (
    is_tiff,
    not_a_stack,
    open_nifti,
    open_tiff,
    refusing_damage,
    series_of,
    shape_text,
)

Shape = tuple[int, int, int]


def read_shape(path: Path) -> Shape:
    """Shape (z, y, x) of the stack in `path`, without its voxels. Raises DataError as `stacks.read_stack` does."""
    with refusing_damage(path):
        shape = _tiff_shape(path) if is_tiff(path) else _nifti_shape(path)
    if len(shape) != 3 or 0 in shape:
        raise not_a_stack(path, f"it holds an array of shape {shape_text(shape)}, not a stack in z, y, x")
    return shape[0], shape[1], shape[2]


def read_dtype(path: Path) -> np.dtype[Any]:
    """The dtype that `read_slices` gives: a scaled NIfTI's is not the one in its file. Raises DataError likewise."""
    with refusing_damage(path):
        return _tiff_dtype(path) if is_tiff(path) else _nifti_dtype(path)


def read_slices(path: Path) -> Iterator[NDArray[Any]]:
    """The slices (yx) of the stack in `path`, in the order of z: those of `stacks.read_stack(path)`.

    A TIFF whose pages are not its slices (volumetric tiles) is read whole. Raises DataError as `read_stack` does.
    """
    with refusing_damage(path):  # of the reader: what a caller does between two slices raises outside of it
        yield from _tiff_slices(path) if is_tiff(path) else _nifti_slices(path)


def _tiff_shape(path: Path) -> tuple[int, ...]:
    with open_tiff(path) as tiff:
        return tuple(series_of(tiff, path).shape)


def _tiff_dtype(path: Path) -> np.dtype[Any]:
    with open_tiff(path) as tiff:
        return np.dtype(series_of(tiff, path).dtype)


def _tiff_slices(path: Path) -> Iterator[NDArray[Any]]:
    with open_tiff(path) as tiff:
        series = series_of(tiff, path)
        if series.dataoffset is not None:
            yield from _raw_slices(tiff, series, series.dataoffset)
        elif _pages_are_slices(series):
            for page in series.pages:
                assert page is not None
                yield page.asarray()
        else:
            yield from series.asarray()


def _raw_slices(tiff: tifffile.TiffFile, series: tifffile.TiffPageSeries, offset: int) -> Iterator[NDArray[Any]]:
    """Of an uncompressed stack in one piece, such as ImageJ's, which has one page whatever its depth."""
    depth, *plane = series.shape
    dtype = series.dtype.newbyteorder(tiff.byteorder)
    size = plane[0] * plane[1]
    for z in range(depth):
        read = tiff.filehandle.read_array(dtype, size, offset + z * size * dtype.itemsize)
        yield read.reshape(plane)


def _pages_are_slices(series: tifffile.TiffPageSeries) -> bool:
    pages = list(series.pages)
    return len(pages) == series.shape[0] and all(page is not None and page.shape == series.shape[1:] for page in pages)


def _nifti_shape(path: Path) -> tuple[int, ...]:
    loaded: Any = nibabel.load(path, mmap=False)
    shape = tuple(int(size) for size in loaded.shape)
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    return shape[::-1]


def _nifti_dtype(path: Path) -> np.dtype[Any]:
    loaded: Any = nibabel.load(path, mmap=False)
    voxel: NDArray[Any] = np.asanyarray(loaded.dataobj[(slice(0, 1),) * len(loaded.shape)])
    return voxel.dtype


def _nifti_slices(path: Path) -> Iterator[NDArray[Any]]:
    image = open_nifti(path, keep_file_open=True)  # a compressed file is read once from its beginning to its end
    extra = (0,) * (len(image.shape) - 3)
    for z in range(image.shape[2]):
        plane_xy = np.asanyarray(image.dataobj[(slice(None), slice(None), z, *extra)])
        yield np.ascontiguousarray(plane_xy.T)
