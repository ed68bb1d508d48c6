"""Sliding-window prediction of a volume that does not fit into memory: what inference.py does, band by band.

A band is what a row of patches along x covers: as high and as deep as a patch, as wide as the volume. It is read,
predicted, and its weighted sums go to a ring on the disk that is as deep as a patch. A slice that no further patch
touches is divided by its weights and handed on, and its place in the ring is used again. So memory depends on the patch
and the width of a slice, and on nothing else.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from stages.common.errors import DataError
from stages.common.imaging.zyx import Shape
from stages.common.tiling.volume import DiskVolume
from stages.common.tiling.windows import Axis, axis_for, plane_of_weights, weights_of

ReadBand = Callable[[slice, slice], NDArray[np.float32]]
Predict = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True, kw_only=True)
class Tiling:
    """How a volume is cut into patches, z, y, x."""

    axes: tuple[Axis, Axis, Axis]
    weights: NDArray[np.float32]

    @property
    def bands(self) -> int:
        """How many bands there are."""
        return len(self.axes[0].starts) * len(self.axes[1].starts)

    @property
    def shape(self) -> Shape:
        """Of the volume."""
        z, y, x = self.axes
        return z.size, y.size, x.size

    @property
    def ring_shape(self) -> Shape:
        """Of what is kept of the sums."""
        z, y, x = self.axes
        return min(z.patch, z.size), y.size, x.size


def tile(shape_zyx: Shape, patch_voxels: Shape, overlap: float) -> Tiling:
    """Patches of `patch_voxels` over a volume; neighbours share `overlap` (0 to below 1) of their length."""
    z, y, x = (axis_for(size, patch, overlap) for size, patch in zip(shape_zyx, patch_voxels, strict=True))
    return Tiling(axes=(z, y, x), weights=weights_of(patch_voxels))


def predict_slices(
    read: ReadBand, predict: Predict, tiling: Tiling, ring_file: Path, batch_size: int, done: Callable[[], None]
) -> Iterator[NDArray[np.float32]]:
    """Foreground probability slice by slice (yx), float32 in [0, 1].

    `read` gives slices and rows of the normalised image, whole along x (z, y, x). `predict` maps patches
    (B, 1, z, y, x) to their probability. `ring_file` is made and removed; `done` is called after each band.
    """
    along_z, along_y, _ = tiling.axes
    with DiskVolume(ring_file, tiling.ring_shape, np.float32) as ring:
        finished = reached = 0
        for number, start_z in enumerate(along_z.starts):
            slices = along_z.inside(start_z)
            _clear(ring, range(reached, slices.stop))
            reached = slices.stop
            for start_y in along_y.starts:
                rows = along_y.inside(start_y)
                sums = _predict_band(read(slices, rows), predict, tiling, (start_z, start_y), batch_size)
                _add(ring, slices, rows, sums)
                done()
            further = number + 1 < len(along_z.starts)
            until = along_z.inside(along_z.starts[number + 1]).start if further else along_z.size
            for z in range(finished, until):
                yield _finish(ring, z, tiling)
            finished = until


def finite(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    """`plane`, a slice of a probability. Raises DataError where it holds NaN."""
    if not np.isfinite(plane).all():
        raise DataError(
            "the network predicts NaN on this stack",
            remedy="train it with training.precision=fp32, or check whether the intensities of this stack are unusual",
        )
    return plane


def _predict_band(
    band_zyx: NDArray[np.float32], predict: Predict, tiling: Tiling, starts: tuple[int, int], batch_size: int
) -> NDArray[np.float32]:
    """Weighted probabilities of a row of patches, summed, of the shape of `band_zyx`."""
    along_z, along_y, along_x = tiling.axes
    whole = (along_z.margin(starts[0]), along_y.margin(starts[1]), (0, 0))
    padded = np.pad(band_zyx, whole, mode="edge")
    if len(along_x.starts) == 1:
        padded = np.pad(padded, ((0, 0), (0, 0), along_x.margin(along_x.starts[0])), mode="edge")
    before = max(-along_x.starts[0], 0)
    inner = (along_z.within(starts[0]), along_y.within(starts[1]))
    sums = np.zeros_like(band_zyx)
    for first in range(0, len(along_x.starts), batch_size):
        chosen = along_x.starts[first : first + batch_size]
        patches = np.stack([padded[..., start + before : start + before + along_x.patch] for start in chosen])
        probability = predict(torch.from_numpy(patches)[:, None])[:, 0].cpu().numpy()
        for start, patch in zip(chosen, probability * tiling.weights, strict=True):
            sums[..., along_x.inside(start)] += patch[(*inner, along_x.within(start))]
    return sums


def _clear(ring: DiskVolume, slices: range) -> None:
    empty = np.zeros((1, *ring.shape[1:]), dtype=np.float32)
    for z in slices:
        ring.write(z % ring.shape[0], 0, empty)


def _add(ring: DiskVolume, slices: slice, rows: slice, sums: NDArray[np.float32]) -> None:
    for z, plane in enumerate(sums, start=slices.start):
        place = z % ring.shape[0]
        ring.write(place, rows.start, ring.read(slice(place, place + 1), rows) + plane)


def _finish(ring: DiskVolume, z: int, tiling: Tiling) -> NDArray[np.float32]:
    place = z % ring.shape[0]
    sums: NDArray[np.float32] = ring.read(slice(place, place + 1), slice(0, ring.shape[1]))[0]
    sums /= plane_of_weights(z, tiling.axes, tiling.weights)
    return np.clip(sums, 0, 1, out=sums)  # the division may leave 1 + 1e-7
