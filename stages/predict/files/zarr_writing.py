"""OME-Zarr 0.4, written slab by slab: one level, its scale in µm."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.common.imaging.suffixes import suffix_of
from stages.common.requests.prediction.chunks import CHUNK_ZYX, LEVEL

SLAB_BYTES = 2**26  # that are in memory at a time


def write_zarr(
    folder: Path,
    slices: Iterator[NDArray[Any]],
    dtype: np.dtype[Any],
    shape_zyx: tuple[int, int, int],
    spacing_um: tuple[float, float, float],
    start_um: tuple[float, float, float] | None = None,
) -> None:
    """Write the slices (yx) to the store `folder`, whose previous content is removed."""
    depth = _depth(shape_zyx, dtype)
    chunks = (depth, min(CHUNK_ZYX[1], shape_zyx[1]), min(CHUNK_ZYX[2], shape_zyx[2]))
    array = create_store(folder, dtype, shape_zyx, chunks, spacing_um, start_um)
    first = 0
    for slab in _slabs(slices, depth):
        array[first : first + len(slab)] = slab
        first += len(slab)


def create_store(
    folder: Path,
    dtype: np.dtype[Any],
    shape_zyx: tuple[int, int, int],
    chunks_zyx: tuple[int, int, int],
    spacing_um: tuple[float, float, float],
    start_um: tuple[float, float, float] | None = None,
) -> Any:
    """Make the store `folder`, whose former content is removed; returns its array, all zeros. Its first voxel is at
    `start_um` (z, y, x), if that is known.
    """
    import zarr

    group = zarr.open_group(folder, mode="w", zarr_format=2)
    group.attrs["multiscales"] = [_image(folder, spacing_um, start_um)]
    return group.create_array(
        LEVEL, shape=shape_zyx, dtype=dtype, chunks=chunks_zyx, chunk_key_encoding={"name": "v2", "separator": "/"}
    )


def open_store(folder: Path) -> Any:
    """The array of a store that `create_store` made, for writing into it."""
    import zarr

    return zarr.open_array(folder / LEVEL, mode="r+")


def _depth(shape_zyx: tuple[int, int, int], dtype: np.dtype[Any]) -> int:
    """Slices of a chunk: as many as fit into a slab."""
    plane = shape_zyx[1] * shape_zyx[2] * dtype.itemsize
    return max(1, min(CHUNK_ZYX[0], shape_zyx[0], SLAB_BYTES // plane))


def _slabs(slices: Iterator[NDArray[Any]], depth: int) -> Iterator[NDArray[Any]]:
    waiting: list[NDArray[Any]] = []
    for plane in slices:
        waiting.append(plane)
        if len(waiting) == depth:
            yield np.stack(waiting)
            waiting.clear()
    if waiting:
        yield np.stack(waiting)


def _image(
    folder: Path, spacing_um: tuple[float, float, float], start_um: tuple[float, float, float] | None
) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"type": "scale", "scale": [float(size) for size in spacing_um]}]
    if start_um is not None:
        steps.append({"type": "translation", "translation": [float(place) for place in start_um]})
    return {
        "version": "0.4",
        "name": folder.name[: -len(suffix_of(folder.name) or "")] or folder.name,
        "axes": [{"name": axis, "type": "space", "unit": "micrometer"} for axis in "zyx"],
        "datasets": [{"path": LEVEL, "coordinateTransformations": steps}],
    }
