"""From volumes to batches: a data set whose items depend on their number alone, and a loader that keeps their order."""

import mmap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from stages.common.imaging.volumes import Volume
from stages.common.lifetimes.signals import ignore_ctrl_c
from stages.train.distributed.ranks import ALONE, Ranks
from stages.train.params import TrainingParams
from stages.train.sampling.augment import change_intensity, draw_augmentation, reorient
from stages.train.sampling.draws import Purpose, generator
from stages.train.sampling.patches import Foreground, cut, draw_patch, index_foreground

Scalar = TypeVar("Scalar", bound=np.generic)


@dataclass(frozen=True, kw_only=True)
class Batch:
    """image (B, 1, z, y, x) float32; label and skeleton the same shape in uint8 {0, 1}; `ids` names the volumes.

    `labelled` is as label, None if every voxel of all the training's volumes is labelled.
    """

    image: torch.Tensor
    label: torch.Tensor
    skeleton: torch.Tensor
    ids: list[str]
    labelled: torch.Tensor | None = None

    def to(self, device: torch.device) -> "Batch":
        """The batch on `device`."""
        return self._with(lambda part: part.to(device, non_blocking=True))

    def pin_memory(self) -> "Batch":
        """Called by torch's loader, so that the way to a GPU runs in parallel with the work."""
        return self._with(torch.Tensor.pin_memory)

    def _with(self, change: Callable[[torch.Tensor], torch.Tensor]) -> "Batch":
        image, label, skeleton = (change(part) for part in (self.image, self.label, self.skeleton))
        labelled = None if self.labelled is None else change(self.labelled)
        return Batch(image=image, label=label, skeleton=skeleton, ids=self.ids, labelled=labelled)


@dataclass(frozen=True, kw_only=True)
class _Item:
    image_zyx: NDArray[np.float32]
    label_zyx: NDArray[np.uint8]
    skeleton_zyx: NDArray[np.uint8]
    labelled_zyx: NDArray[np.uint8] | None
    id: str


@dataclass(frozen=True, kw_only=True)
class _Arrays:
    image_zyx: NDArray[np.float32]
    label_zyx: NDArray[np.uint8]
    skeleton_zyx: NDArray[np.uint8] | None
    labelled_zyx: NDArray[np.uint8] | None


@dataclass(frozen=True, kw_only=True)
class _File:
    """Where an array is on the disk. numpy reads and checks a file's header each time, as long as a patch takes."""

    path: Path
    offset: int
    dtype: np.dtype[Any]
    shape_zyx: tuple[int, ...]
    order: Literal["C", "F"]

    def map(self) -> NDArray[Any]:
        """The array, read-only and memory-mapped; unmapped when nothing refers to it any more."""
        with self.path.open("rb") as stream:
            content = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        return np.ndarray(self.shape_zyx, self.dtype, content, self.offset, order=self.order)


def _file_of(array_zyx: NDArray[Any]) -> _File:
    assert isinstance(array_zyx, np.memmap)
    assert isinstance(array_zyx.filename, Path)
    return _File(
        path=array_zyx.filename,
        offset=array_zyx.offset,
        dtype=array_zyx.dtype,
        shape_zyx=array_zyx.shape,
        order="C" if array_zyx.flags.c_contiguous else "F",
    )


@dataclass(frozen=True, kw_only=True)
class _Files:
    image: _File
    label: _File
    skeleton: _File | None
    labelled: _File | None

    def map(self) -> _Arrays:
        """The arrays of one volume."""
        return _Arrays(
            image_zyx=self.image.map(),
            label_zyx=self.label.map(),
            skeleton_zyx=None if self.skeleton is None else self.skeleton.map(),
            labelled_zyx=None if self.labelled is None else self.labelled.map(),
        )


def _files_of(volume: Volume, needs_skeleton: bool) -> _Files:
    """Raises DataError when a file is not as listed."""
    skeleton = _file_of(volume.skeleton()) if needs_skeleton else None
    known = volume.labelled()
    return _Files(
        image=_file_of(volume.image()),
        label=_file_of(volume.label()),
        skeleton=skeleton,
        labelled=None if known is None else _file_of(known),
    )


def _read(files: _Files) -> _Arrays:
    mapped = files.map()
    return _Arrays(
        image_zyx=np.array(mapped.image_zyx),
        label_zyx=np.array(mapped.label_zyx),
        skeleton_zyx=None if mapped.skeleton_zyx is None else np.array(mapped.skeleton_zyx),
        labelled_zyx=None if mapped.labelled_zyx is None else np.array(mapped.labelled_zyx),
    )


class PatchDataset(Dataset[_Item]):
    """Every patch of a training, numbered through: patch `index` of `epoch` is epoch * patches_per_epoch + index.

    Volumes are opened memory-mapped for each patch, so neither memory nor open files grow with the number of volumes;
    with `keep_in_memory` they are read once instead. A loss that needs no skeleton gets the label in its place.
    """

    def __init__(
        self, volumes: list[Volume], params: TrainingParams, *, needs_skeleton: bool, keep_in_memory: bool = False
    ) -> None:
        self._volumes = volumes
        self._files = [_files_of(volume, needs_skeleton) for volume in volumes]
        self._params = params
        # of one kind for every batch of a training: processes exchange it, and losses look at it
        self._is_partial = any(volume.is_partial for volume in volumes)
        self._foreground: Foreground = index_foreground(volumes, params.seed)
        self._patches_per_epoch = params.steps_per_epoch * params.batch_size
        # read before loader workers are forked, who then share it
        self._kept = [_read(files) for files in self._files] if keep_in_memory else None

    def __len__(self) -> int:
        return self._patches_per_epoch * self._params.max_epochs

    def __getitem__(self, number: int) -> _Item:
        params = self._params
        place = divmod(number, self._patches_per_epoch)  # epoch, index
        patch = draw_patch(
            generator(params.seed, *place, Purpose.PATCH),
            self._foreground,
            params.patch_voxels,
            params.foreground_share,
        )
        augmentation = draw_augmentation(
            generator(params.seed, *place, Purpose.AUGMENTATION), params.augmentation, params.patch_voxels
        )
        volume = self._volumes[patch.volume]
        arrays = self._files[patch.volume].map() if self._kept is None else self._kept[patch.volume]

        def place_of(array_zyx: NDArray[Scalar]) -> NDArray[Scalar]:
            return reorient(cut(array_zyx, patch.start_zyx, params.patch_voxels), augmentation)

        image, label = place_of(arrays.image_zyx), place_of(arrays.label_zyx)
        skeleton = label if arrays.skeleton_zyx is None else place_of(arrays.skeleton_zyx)
        image = change_intensity(image, augmentation, generator(params.seed, *place, Purpose.NOISE))
        labelled = None if arrays.labelled_zyx is None else place_of(arrays.labelled_zyx)
        if labelled is None and self._is_partial:
            labelled = np.ones_like(label)
        return _Item(image_zyx=image, label_zyx=label, skeleton_zyx=skeleton, labelled_zyx=labelled, id=volume.id)


def batches(
    dataset: PatchDataset,
    params: TrainingParams,
    first_step: int,
    workers: int,
    pin_memory: bool = False,
    ranks: Ranks = ALONE,
) -> Iterator[Batch]:
    """Every batch of the training from global step `first_step` on, in order, whatever `workers` is.

    Of several `ranks` each gets its share of every batch.
    """
    loader = DataLoader(
        dataset,
        batch_sampler=_Shares(first_step, params, ranks),
        num_workers=workers,
        collate_fn=_collate,
        pin_memory=pin_memory,
        worker_init_fn=ignore_ctrl_c,
        generator=torch.Generator(),  # torch seeds its workers from this; the global random state stays untouched
    )
    return iter(loader)


class _Shares:
    """The numbers of a rank's patches in each batch from `first_step` on."""

    def __init__(self, first_step: int, params: TrainingParams, ranks: Ranks) -> None:
        self._steps = range(first_step, params.steps_per_epoch * params.max_epochs)
        self._batch_size = params.batch_size
        self._share = ranks.share()

    def __iter__(self) -> Iterator[list[int]]:
        for step in self._steps:
            yield list(range(step * self._batch_size, (step + 1) * self._batch_size)[self._share])


def first_batch(dataset: PatchDataset, params: TrainingParams, ranks: Ranks = ALONE) -> Batch:
    """The training's first batch, or this rank's share of it, for looking at before the training begins."""
    return _collate([dataset[number] for number in range(params.batch_size)[ranks.share()]])


def _collate(items: list[_Item]) -> Batch:
    labelled = [item.labelled_zyx for item in items if item.labelled_zyx is not None]
    return Batch(
        image=_stack([item.image_zyx for item in items]),
        label=_stack([item.label_zyx for item in items]),
        skeleton=_stack([item.skeleton_zyx for item in items]),
        ids=[item.id for item in items],
        labelled=_stack(labelled) if len(labelled) == len(items) else None,
    )


def _stack(arrays_zyx: list[NDArray[np.float32]] | list[NDArray[np.uint8]]) -> torch.Tensor:
    return torch.from_numpy(np.stack(arrays_zyx)[:, None])
