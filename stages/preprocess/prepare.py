"""One volume from its stacks to its arrays."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.morphology import skeletonize

from stages.common.errors import CapillaryError, DataError, ExitCode
from stages.common.imaging.grid import Shape, Spacing, resample
from stages.common.imaging.normalise import apply_scale, measure_scale
from stages.common.imaging.stacks import binarise, read_stack
from stages.common.imaging.volumes import Checksums
from stages.preprocess.arrays import save_array
from stages.preprocess.params import Preprocess
from stages.preprocess.raw import RawVolume
from stages.preprocess.resample import resample_label


@dataclass(frozen=True, kw_only=True)
class Task:
    """One volume to prepare: where it comes from, on which grid (voxels zyx, µm) and into which folder it goes."""

    raw: RawVolume
    shape_zyx: Shape
    spacing_um: Spacing
    folder: Path
    params: Preprocess

    @property
    def voxels(self) -> int:
        """Size of the larger of the two grids, native and target: what its memory goes with."""
        return max(self.raw.voxels, math.prod(self.shape_zyx))


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What became of a task."""

    task: Task
    foreground_share: float
    checksums: Checksums


def prepare(task: Task) -> Prepared:
    """Write image.npy, label.npy and skeleton.npy of one volume.

    One array after the other, so that no two of them are in memory together. Raises CapillaryError naming the volume.
    """
    try:
        task.folder.mkdir(parents=True)
        image_sha256 = _prepare_image(task)
        label = _prepare_label(task)
        label_sha256 = save_array(task.folder / "label.npy", label)
        share = float(np.count_nonzero(label)) / label.size
        skeleton_sha256 = save_array(task.folder / "skeleton.npy", skeleton_of(label))
    except MemoryError as error:
        raise CapillaryError(
            f"volume {task.raw.id}: does not fit into memory",
            remedy="set CAPILLARY_WORKERS=1 to prepare one volume at a time, or use a machine with more memory",
            code=ExitCode.MACHINE,
            value=f"{task.voxels:,} voxels",
        ) from error
    checksums = Checksums(image=image_sha256, label=label_sha256, skeleton=skeleton_sha256)
    return Prepared(task=task, foreground_share=share, checksums=checksums)


def skeleton_of(label_zyx: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Centreline {0, 1} of `label_zyx`, zyx: 3D thinning after Lee, Kashyap and Chu 1994 (CVGIP 56(6)).

    Thinning works on voxels and knows no spacing.
    """
    thin: Any = skeletonize  # scikit-image's types leave it out
    return np.asarray(thin(label_zyx, method="lee") > 0, dtype=np.uint8)


def _prepare_image(task: Task) -> str:
    image = _read(task.raw, task.raw.image)
    try:
        # measured on the voxels that the microscope recorded, before interpolation makes new values
        scale = measure_scale(image, task.params.recipe())
        if task.shape_zyx != task.raw.shape_zyx:
            image = resample(image, task.shape_zyx)
        normalised = apply_scale(image, scale)
    except DataError as error:
        raise DataError(
            f"volume {task.raw.id}: {error.what}", remedy=error.remedy, file=task.raw.image, value=error.value
        ) from error
    return save_array(task.folder / "image.npy", normalised)


def _prepare_label(task: Task) -> NDArray[np.uint8]:
    label: NDArray[np.uint8] = binarise(_read(task.raw, task.raw.label))
    if task.shape_zyx != task.raw.shape_zyx:
        label = resample_label(label, task.shape_zyx)
    if not label.any():
        raise DataError(
            f"volume {task.raw.id}: resampling left no labelled voxel",
            remedy="choose a finer preprocess.resample_to_um, or null",
            file=task.raw.label,
            value=task.params.resample_to_um,
        )
    return label


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
