"""One volume under one network: its mask on the disk, and what else is known of it."""

from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stages.common.imaging.grid import resample
from stages.common.imaging.volumes import Grid, Volume
from stages.evaluate.cells import Cell
from stages.evaluate.small_parts import Parts
from stages.evaluate.statistics.calibration import Reliability


@dataclass(frozen=True, kw_only=True)
class Predicted:
    """One volume under one network, before small parts are removed; its mask is in `mask_file`, eight voxels a byte."""

    loss: str
    volume: Volume
    mask_file: Path
    seconds: float

    def mask(self) -> NDArray[np.bool_]:
        """The mask on the stack's own grid, zyx."""
        shape = own_grid(self.volume).shape_zyx
        bits = np.unpackbits(np.load(self.mask_file), count=prod(shape))
        return bits.view(np.bool_).reshape(shape)


@dataclass(frozen=True, kw_only=True)
class OutOfFold(Predicted):
    """Of a volume that the fold of `cell` validates. `parts` is None if nobody chooses a size by them."""

    cell: Cell
    reliability: Reliability
    parts: Parts | None

    @property
    def words(self) -> str:
        """Which volume under which network."""
        return f"{self.cell.name.words} {self.volume.id}"


@dataclass(frozen=True, kw_only=True)
class HeldOut(Predicted):
    """Of a volume that no fold saw, under the network or the ensemble `model` of its loss."""

    model: str

    @property
    def words(self) -> str:
        """Which volume under which network."""
        return f"{self.loss} {self.model} held-out {self.volume.id}"


def write_mask(file: Path, mask_zyx: NDArray[np.bool_]) -> None:
    """Write `mask_zyx`, eight voxels a byte."""
    np.save(file, np.packbits(mask_zyx))


def labelled_of(volume: Volume) -> NDArray[np.bool_] | None:
    """Which voxels of the user's label somebody labelled; None: all."""
    labelled = volume.native_labelled()
    return None if labelled is None else labelled.astype(np.bool_)


def own_grid(volume: Volume) -> Grid:
    """The grid of the user's label, on which everything is measured: that of the arrays, or that before resampling."""
    return volume.native or volume.grid


def on_own_grid(array_zyx: NDArray[np.float32], volume: Volume) -> NDArray[np.float32]:
    """`array_zyx` as predict brings a probability back: by linear interpolation, before the threshold."""
    return array_zyx if volume.native is None else resample(array_zyx, volume.native.shape_zyx)
