"""The stage's work from top to bottom: read, normalise, predict, threshold, write. Whole volumes stay on the disk."""

from dataclasses import dataclass
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray

from stages.common.errors import DataError
from stages.common.imaging.components import Components
from stages.common.imaging.grid import Shape, Spacing
from stages.common.imaging.normalise import measure_scale
from stages.common.imaging.stacks import read_shape
from stages.common.monitoring.memory_guard import MemoryGuard, guarding
from stages.common.progress import progress, say
from stages.common.runtime import Runtime
from stages.common.tracking.registry import read_card
from stages.common.tracking.server import connect
from stages.predict.disk.resampling import resample_slices
from stages.predict.disk.scratch import Scratch, bytes_needed
from stages.predict.disk.volume import DiskVolume
from stages.predict.files.picture import write_picture
from stages.predict.files.writing import Place, write_mask, write_probability
from stages.predict.models.ensemble import Ensemble, load_ensemble
from stages.predict.models.registered import find_cards
from stages.predict.order import Order
from stages.predict.params import Evaluation
from stages.predict.source import (
    Normalised,
    choose_spacing,
    decode,
    decoded_type,
    planes_above,
    target_grid,
    warn_of_older_reading,
)
from stages.predict.tiling.tiles import predict_slices, tile

BATCH_SIZE = 2  # patches that go through the network at a time, where the profile says nothing


@dataclass(frozen=True, kw_only=True)
class Way:
    """How probabilities are made: with what, as params.yaml has it, `batch_size` patches at a time."""

    ensemble: Ensemble
    evaluation: Evaluation
    batch_size: int
    guard: MemoryGuard


def predict(order: Order, evaluation: Evaluation, runtime: Runtime) -> None:
    """Segment `order.image` and leave `order.mask`, with what else was wished for.

    Raises CapillaryError: DataError for a stack or models that cannot be read, ServiceError for a registry that does
    not answer, and the kind `machine` when the disk has no room for the work.
    """
    shape, spacing_um = read_shape(order.image), choose_spacing(order.image, order.spacing_um)
    torch.set_num_threads(runtime.threads)
    torch.backends.cudnn.deterministic = True
    ensemble = _load(order, runtime)
    warn_of_older_reading(order.image, ensemble.recipe)
    grid = target_grid(shape, spacing_um, ensemble.recipe)
    place = Place(shape_zyx=shape, spacing_um=spacing_um, source=order.image)
    with Scratch(order.mask) as scratch, guarding(runtime.monitoring.memory_abort_gb) as guard:
        ring = tile(grid, ensemble.patch_voxels, evaluation.overlap).ring_shape
        voxel, wished = decoded_type(order.image).itemsize, order.probability is not None
        scratch.refuse_full_disk(bytes_needed(voxel, shape, grid, ring, probability=wished))
        image = decode(order.image, shape, scratch)
        batch_size = runtime.compute.micro_batch or BATCH_SIZE
        way = Way(ensemble=ensemble, evaluation=evaluation, batch_size=batch_size, guard=guard)
        probability = _probability(image, grid, way, scratch)
        mask = scratch.volume("mask", shape, np.uint8).append(planes_above(probability, evaluation.threshold))
        mask = _without_small(mask, evaluation.min_component_um3, spacing_um, scratch)
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


def _probability(image: DiskVolume, grid: Shape, way: Way, scratch: Scratch) -> DiskVolume:
    """Foreground probability on the image's own grid; the networks see the image on `grid`."""
    # measured on the voxels that the microscope recorded, as preprocess does
    scale = measure_scale(image, way.ensemble.recipe)
    if grid == image.shape:
        return _predict(Normalised(volume=image, scale=scale), way, scratch)
    say(f"resampled to {' × '.join(map(str, grid))} voxels, as in training")
    resampled = scratch.volume("resampled", grid, np.float32)
    resampled.append(resample_slices(image, grid, scratch.file("in_plane")))
    found = _predict(Normalised(volume=resampled, scale=scale), way, scratch)
    native = scratch.volume("native", image.shape, np.float32)
    return native.append(resample_slices(found, image.shape, scratch.file("in_plane")))


def _predict(source: Normalised, way: Way, scratch: Scratch) -> DiskVolume:
    """Foreground probability on the grid of `source`."""
    shape = source.volume.shape
    tiling = tile(shape, way.ensemble.patch_voxels, way.evaluation.overlap)
    with progress("predict", tiling.bands) as steps:

        def done() -> None:
            way.guard.raise_if_crossed("during prediction")
            steps.tick()

        def probability(patches: torch.Tensor) -> torch.Tensor:
            return way.ensemble.probability(patches, way.evaluation.test_time_flips)

        slices = predict_slices(source.read, probability, tiling, scratch.file("sums"), way.batch_size, done)
        return scratch.volume("probability", shape, np.float32).append(_finite(plane) for plane in slices)


def _finite(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    if not np.isfinite(plane).all():
        raise DataError(
            "the network predicts NaN on this stack",
            remedy="train it with training.precision=fp32, or look whether the stack has values of its own kind",
        )
    return plane


def _without_small(mask: DiskVolume, least_um3: float | None, spacing_um: Spacing, scratch: Scratch) -> DiskVolume:
    """`mask` without connected parts below `least_um3`."""
    if not least_um3:
        return mask
    parts = Components(mask)
    small = parts.voxels * prod(spacing_um) < least_um3
    say(f"removed {np.count_nonzero(small)} of {len(small)} connected parts, below {least_um3:g} µm³")
    return scratch.volume("kept", mask.shape, np.uint8).append(parts.only(~small))
