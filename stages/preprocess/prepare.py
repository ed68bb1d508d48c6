"""One volume from its stacks to its arrays."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.common.errors import CapillaryError, DataError, ExitCode
from stages.common.imaging.grid import Shape, Spacing, resample
from stages.common.imaging.normalise import apply_scale, measure_scale
from stages.common.imaging.skeleton import skeleton
from stages.common.imaging.stacks import binarise, read_stack
from stages.common.imaging.volumes import Checksums
from stages.preprocess.arrays import save_array
from stages.preprocess.params import Preprocess
from stages.preprocess.raw import RawVolume
from stages.preprocess.resample import lost_parts, resample_label


@dataclass(frozen=True, kw_only=True)
class Task:
    """One volume to prepare: where it comes from, on which grid (voxels zyx, µm) and into which folder it goes."""

    raw: RawVolume
    shape_zyx: Shape
    spacing_um: Spacing
    folder: Path
    params: Preprocess

    @property
    def is_resampled(self) -> bool:
        """Whether the arrays are on another grid than the stack."""
        return self.shape_zyx != self.raw.shape_zyx

    @property
    def voxels(self) -> int:
        """Size of the larger of the two grids, native and target: what its memory goes with."""
        return max(self.raw.voxels, math.prod(self.shape_zyx))


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What became of a task. `lost_parts` of the label's `parts` (connected) have no voxel left after resampling."""

    task: Task
    foreground_share: float
    checksums: Checksums
    parts: int = 0
    lost_parts: int = 0


def prepare(task: Task) -> Prepared:
    """Write image.npy, label.npy, skeleton.npy and, where it is resampled, native_label.npy of one volume.

    One array after the other, so that no two of them are in memory together. Raises CapillaryError naming the volume.
    """
    try:
        task.folder.mkdir(parents=True)
        image_sha256 = _prepare_image(task)
        label, native_sha256, parts, lost = _prepare_label(task)
        label_sha256 = save_array(task.folder / "label.npy", label)
        share = float(np.count_nonzero(label)) / label.size
        centreline = skeleton(label.view(np.bool_)).view(np.uint8)
        skeleton_sha256 = save_array(task.folder / "skeleton.npy", centreline)
    except MemoryError as error:
        raise CapillaryError(
            f"volume {task.raw.id}: does not fit into memory",
            remedy="set CAPILLARY_WORKERS=1 to prepare one volume at a time, or use a machine with more memory",
            code=ExitCode.MACHINE,
            value=f"{task.voxels:,} voxels",
        ) from error
    checksums = Checksums(image=image_sha256, label=label_sha256, skeleton=skeleton_sha256, native_label=native_sha256)
    return Prepared(task=task, foreground_share=share, checksums=checksums, parts=parts, lost_parts=lost)


def _prepare_image(task: Task) -> str:
    image = _read(task.raw, task.raw.image)
    try:
        # measured on the voxels that the microscope recorded, before interpolation makes new values
        scale = measure_scale(image, task.params.recipe())
        if task.is_resampled:
            image = resample(image, task.shape_zyx)
        normalised = apply_scale(image, scale)
    except DataError as error:
        raise DataError(
            f"volume {task.raw.id}: {error.what}", remedy=error.remedy, file=task.raw.image, value=error.value
        ) from error
    return save_array(task.folder / "image.npy", normalised)


def _prepare_label(task: Task) -> tuple[NDArray[np.uint8], str, int, int]:
    """The label on the grid of `task`; the checksum of the native one, its connected parts and how many are lost."""
    native: NDArray[np.uint8] = binarise(_read(task.raw, task.raw.label))
    if not task.is_resampled:
        return native, "", 0, 0
    label = resample_label(native, task.shape_zyx)
    if not label.any():
        raise DataError(
            f"volume {task.raw.id}: resampling left no labelled voxel",
            remedy="choose a finer preprocess.resample_to_um, or null",
            file=task.raw.label,
            value=task.params.resample_to_um,
        )
    checksum = save_array(task.folder / "native_label.npy", native)
    return label, checksum, *lost_parts(native, label)


def _read(raw: RawVolume, file: Path) -> NDArray[Any]:
    stack: NDArray[Any] = read_stack(file)
    if stack.shape != raw.shape_zyx:
        raise DataError(
            f"volume {raw.id}: the stack is not the one that volumes.csv lists",
            remedy="run `dvc repro ingest`, do not edit data/raw by hand",
            file=file,
            value=f"{stack.shape} instead of {raw.shape_zyx}",
        )
    return stack
