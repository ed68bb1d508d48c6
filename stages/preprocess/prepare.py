"""One volume from its stacks to its arrays."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.common.errors import DataError, MachineError
from stages.common.imaging.grid import resample
from stages.common.imaging.intensities.normalise import apply_scale, measure_scale
from stages.common.imaging.labels.meaning import Label, interpret
from stages.common.imaging.masks.skeleton import skeleton
from stages.common.imaging.stacks import read_stack
from stages.common.imaging.volumes import Checksums
from stages.common.imaging.zyx import Shape, Spacing
from stages.preprocess.arrays import save_array
from stages.preprocess.params import Preprocess
from stages.preprocess.raw import RawVolume
from stages.preprocess.resample import lost_parts, resample_label, resample_labelled


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
    """What became of a task. `lost_parts` of the label's `parts` (connected) have no voxel left after resampling.

    `foreground_share` is of the labelled voxels, `labelled_share` of all.
    """

    task: Task
    foreground_share: float
    checksums: Checksums
    labelled_share: float = 1.0
    parts: int = 0
    lost_parts: int = 0


def prepare(task: Task) -> Prepared:
    """Write image.npy, label.npy, skeleton.npy of one volume; where it is resampled native_label.npy; and labelled.npy
    (native_labelled.npy) where some voxels are not labelled.

    One array after the other, so that no two of them are in memory together. Raises CapillaryError naming the volume.
    """
    try:
        task.folder.mkdir(parents=True)
        image_sha256 = _prepare_image(task)
        native = _interpreted(task)
        label, parts, lost = _on_grid(task, native)
        checksums = Checksums(
            image=image_sha256,
            label=save_array(task.folder / "label.npy", label.vessel),
            skeleton=save_array(task.folder / "skeleton.npy", skeleton(label.vessel.view(np.bool_)).view(np.uint8)),
            native_label=save_array(task.folder / "native_label.npy", native.vessel) if task.is_resampled else "",
            labelled=_save_labelled(task.folder / "labelled.npy", label),
            native_labelled=_save_labelled(task.folder / "native_labelled.npy", native) if task.is_resampled else "",
        )
    except MemoryError as error:
        raise MachineError(
            f"volume {task.raw.id}: does not fit into memory",
            remedy="set CAPILLARY_WORKERS=1 to prepare one volume at a time, or use a machine with more memory",
            value=f"{task.voxels:,} voxels",
        ) from error
    return Prepared(
        task=task,
        foreground_share=label.foreground_share,
        labelled_share=label.labelled_share,
        checksums=checksums,
        parts=parts,
        lost_parts=lost,
    )


def _save_labelled(file: Path, label: Label) -> str:
    return "" if label.labelled is None else save_array(file, label.labelled.view(np.uint8))


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


def _interpreted(task: Task) -> Label:
    """The label as it came."""
    stack = _read(task.raw, task.raw.label)
    try:
        return interpret(stack, task.raw.meaning)
    except DataError as error:
        what = f"volume {task.raw.id}: {error.what}"
        raise DataError(what, remedy=error.remedy, file=task.raw.label, value=error.value) from error


def _on_grid(task: Task, native: Label) -> tuple[Label, int, int]:
    """The label on the grid of `task`; how many connected parts the native one has, and how many of them are lost."""
    if not task.is_resampled:
        return native, 0, 0
    vessel, labelled = resample_label(native.vessel, task.shape_zyx), None
    if native.labelled is not None:
        labelled = resample_labelled(native.labelled, task.shape_zyx)
        vessel *= labelled
    if not vessel.any():
        raise DataError(
            f"volume {task.raw.id}: resampling left no labelled voxel",
            remedy="choose a finer preprocess.resample_to_um, or null",
            file=task.raw.label,
            value=task.params.resample_to_um,
        )
    return Label(vessel=vessel, labelled=labelled), *lost_parts(native.vessel, vessel)


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
