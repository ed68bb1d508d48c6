"""The stage's work from top to bottom: read, normalise, predict, threshold, write. Whole volumes stay on the disk."""

import shutil
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from stages.common.components import Components
from stages.common.errors import CapillaryError, DataError, ExitCode
from stages.common.grid import Shape, Spacing
from stages.common.memory_guard import MemoryGuard, guarding
from stages.common.mlflow_server import connect
from stages.common.normalise import measure_scale
from stages.common.progress import progress, say
from stages.common.registry import read_card
from stages.common.runtime import Runtime
from stages.predict.disk_volume import DiskVolume
from stages.predict.ensemble import Ensemble, load_ensemble
from stages.predict.order import Order
from stages.predict.params import Evaluation
from stages.predict.picture import write_picture
from stages.predict.registered import find_cards
from stages.predict.resampling import resample_slices
from stages.predict.slices import read_shape
from stages.predict.source import Normalised, choose_spacing, decode, planes_above, target_grid
from stages.predict.tiles import predict_slices, tile
from stages.predict.writing import Place, write_mask, write_probability

BATCH_SIZE = 2  # patches that go through the network at a time, where the profile says nothing


@dataclass(frozen=True, kw_only=True)
class Scratch:
    """Files of this run's own beside its out: hidden, and on the disk that the out needs anyway."""

    out: Path

    def file(self, name: str) -> Path:
        """A place for `name`."""
        return self.out.with_name(f".{self.out.name}.{name}")


def predict(order: Order, evaluation: Evaluation, runtime: Runtime) -> None:
    """Segment `order.image` and leave `order.mask`, with what else was wished for.

    Raises CapillaryError: DataError for a stack or models that cannot be read, ServiceError for a registry that does
    not answer, and the kind `machine` when the disk has no room for the work.
    """
    shape, spacing_um = read_shape(order.image), choose_spacing(order.image, order.spacing_um)
    torch.set_num_threads(runtime.threads)
    torch.backends.cudnn.deterministic = True
    ensemble = _load(order, runtime)
    place = Place(shape_zyx=shape, spacing_um=spacing_um, source=order.image)
    grid = target_grid(shape, spacing_um, ensemble.recipe)
    scratch = Scratch(out=order.mask)
    _refuse_full_disk(shape, grid, order.mask.parent)
    with ExitStack() as opened, guarding(runtime.monitoring.memory_abort_gb) as guard:
        image = opened.enter_context(decode(order.image, shape, scratch.file("image")))
        probability = _probability(image, grid, ensemble, evaluation, runtime, scratch, guard, opened)
        mask = opened.enter_context(DiskVolume(scratch.file("mask"), shape, np.uint8))
        mask.append(planes_above(probability, evaluation.threshold))
        kept = _without_small(mask, evaluation.min_component_um3, spacing_um)
        if kept is not mask:
            mask = opened.enter_context(DiskVolume(scratch.file("kept"), shape, np.uint8)).append(iter(kept))
        write_mask(order.mask, mask, place)
        if order.probability is not None:
            write_probability(order.probability, probability, place)
        if order.picture is not None:
            write_picture(order.picture, image, mask, spacing_um)
        voxels = sum(int(np.count_nonzero(plane)) for plane in mask)
        say(f"{voxels:,} of {prod(shape):,} voxels are vessel ({voxels / prod(shape):.1%})")


def _load(order: Order, runtime: Runtime) -> Ensemble:
    server = connect(runtime)
    cards = find_cards(order.model, server) if order.model else [read_card(file) for file in order.cards]
    names = ", ".join(f"{card.model_name} version {card.model_version} (fold {card.fold})" for card in cards)
    say(f"predicting with {names}" + (": the mean of their probabilities" if len(cards) > 1 else ""))
    use_gpu = torch.cuda.is_available() and runtime.compute.device != "cpu"
    return load_ensemble(cards, server, torch.device("cuda" if use_gpu else "cpu"))


def _refuse_full_disk(shape: Shape, grid: Shape, folder: Path) -> None:
    """Raise CapillaryError when the work's volumes do not fit: image, resampled image twice, probabilities, masks."""
    resampled = 0 if grid == shape else 2 * 4 * (prod(grid) + prod(shape))
    needed = prod(shape) * (4 + 4 + 2) + resampled
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise CapillaryError(
            "the disk has no room for the work on this stack",
            remedy="free space on this disk, or run capillary in a project on another one",
            code=ExitCode.MACHINE,
            file=folder.resolve(),
            value=f"{needed / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB are free",
        )


def _probability(
    image: DiskVolume,
    grid: Shape,
    ensemble: Ensemble,
    evaluation: Evaluation,
    runtime: Runtime,
    scratch: Scratch,
    guard: MemoryGuard,
    opened: ExitStack,
) -> DiskVolume:
    """Foreground probability on the image's own grid."""
    # measured on the voxels that the microscope recorded, as preprocess does
    scale = measure_scale(image, ensemble.recipe)
    source = image
    if grid != image.shape:
        say(f"resampled to {' × '.join(map(str, grid))} voxels, as in training")
        source = opened.enter_context(DiskVolume(scratch.file("resampled"), grid, np.float32))
        source.append(resample_slices(image, grid, scratch.file("in_plane")))
    tiling = tile(grid, ensemble.patch_voxels, evaluation.overlap)
    found = opened.enter_context(DiskVolume(scratch.file("probability"), grid, np.float32))
    with progress("predict", tiling.bands) as steps:

        def done() -> None:
            guard.raise_if_crossed("during prediction")
            steps.tick()

        slices = predict_slices(
            Normalised(volume=source, scale=scale).read,
            lambda patches: ensemble.probability(patches, evaluation.test_time_flips),
            tiling,
            scratch.file("sums"),
            runtime.compute.micro_batch or BATCH_SIZE,
            done,
        )
        found.append(_finite(plane) for plane in slices)
    if grid == image.shape:
        return found
    native = opened.enter_context(DiskVolume(scratch.file("native"), image.shape, np.float32))
    return native.append(resample_slices(found, image.shape, scratch.file("in_plane")))


def _finite(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    if not np.isfinite(plane).all():
        raise DataError(
            "the network predicts NaN on this stack",
            remedy="train it with training.precision=fp32, or look whether the stack has values of its own kind",
        )
    return plane


def _without_small(mask: DiskVolume, least_um3: float | str | None, spacing_um: Spacing) -> Iterable[NDArray[Any]]:
    """The slices of `mask` without connected parts below `least_um3`; `mask` itself where there is nothing to do."""
    if least_um3 is None or isinstance(least_um3, str):
        return mask
    parts = Components(mask)
    small = parts.voxels * prod(spacing_um) < least_um3
    say(f"removed {np.count_nonzero(small)} of {len(small)} connected parts, below {least_um3:g} µm³")
    return parts.only(~small)
