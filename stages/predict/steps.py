"""The work on one stack in four steps: survey, prepare, compute, write. Whole volumes stay on the disk.

For a single stack the steps follow each other; where there are many they overlap (stages/predict/batch).
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.common.backends.settings import work_voxels
from stages.common.imaging.intensities.normalise import Scale, measure_scale
from stages.common.imaging.masks.components import Components
from stages.common.imaging.reading import open_stack
from stages.common.imaging.recipe import Recipe
from stages.common.imaging.zyx import Shape, Spacing
from stages.common.monitoring.memory_guard import MemoryGuard
from stages.common.requests.prediction.request import StackRequest
from stages.common.tiling.resampling import resample_slices, target_grid
from stages.common.tiling.tiles import Predict, finite, predict_slices, tile
from stages.common.tiling.volume import DiskVolume
from stages.common.tracking.cards.domain import TrainingDomain
from stages.predict.disk.scratch import Scratch, bytes_needed
from stages.predict.domain import doubts_about
from stages.predict.files.picture import write_picture
from stages.predict.files.writing import StackGeometry, write_mask, write_probability
from stages.predict.models.ensemble import Ensemble
from stages.predict.params import Evaluation
from stages.predict.reporting import Report
from stages.predict.source import (
    Normalised,
    choose_spacing,
    decode,
    decoded_type,
    planes_above,
    warn_of_older_reading,
)

# takes the bytes that all steps need on the disk, and those of the decoded voxels
Claim = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class Method:
    """How probabilities are made: with which networks and params, `batch_size` patches at a time.

    `domains` is what each of the networks was trained on, as far as their cards say.
    """

    ensemble: Ensemble
    evaluation: Evaluation
    batch_size: int
    guard: MemoryGuard
    domains: tuple[TrainingDomain, ...] = ()

    def predictor(self, grid: Shape) -> Predict:
        """The mean foreground probability of patches (B, 1, z, y, x) of a stack that the networks see on `grid`."""
        overlap, flips = self.evaluation.overlap, self.evaluation.test_time_flips
        work = work_voxels(grid, self.ensemble.patch_voxels, overlap, flips)
        return lambda patches: self.ensemble.probability(patches, flips, work)


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A stack on the disk, with the scale that normalises it and the grid (z, y, x) that the networks know."""

    image: DiskVolume
    scale: Scale
    grid: Shape


@dataclass(frozen=True, kw_only=True)
class Computed:
    """What the networks made of a stack, on its own grid. `vessel_voxels` is how many the mask has."""

    image: DiskVolume
    mask: DiskVolume
    probability: DiskVolume
    vessel_voxels: int

    @property
    def vessel_share(self) -> float:
        """Of all voxels of the stack."""
        return self.vessel_voxels / prod(self.mask.shape)


def survey(stack: StackRequest, report: Report, recipe: Recipe | None = None) -> StackGeometry:
    """Shape and spacing, from the header alone, with a warning where networks of `recipe` know another reading of it.

    Raises CapillaryError for a damaged file or an unknown spacing.
    """
    with open_stack(stack.image, stack.channel, stack.level_um) as opened:
        spacing_um = choose_spacing(opened, stack.spacing_um, report)
        if recipe is not None:
            warn_of_older_reading(opened, recipe, report)
        return StackGeometry(
            shape_zyx=opened.shape_zyx,
            spacing_um=spacing_um,
            source=stack.image,
            world=opened.geometry,
            start_um=opened.header.start_um,
        )


def room_for(shape_zyx: Shape, voxel_bytes: int, grid: Shape, method: Method, *, probability: bool) -> int:
    """The most bytes that the work on a stack of `shape_zyx` has on the disk at a time."""
    ring = tile(grid, method.ensemble.patch_voxels, method.evaluation.overlap).ring_shape
    return bytes_needed(voxel_bytes, shape_zyx, grid, ring, probability=probability)


def prepare(
    stack: StackRequest,
    place: StackGeometry,
    method: Method,
    scratch: Scratch,
    claim: Claim,
    report: Report,
) -> Prepared:
    """Bring the stack to the disk; `claim` is asked first, and may refuse."""
    recipe = method.ensemble.recipe
    with open_stack(stack.image, stack.channel, stack.level_um) as opened:
        warn_of_older_reading(opened, recipe, report)
        grid = target_grid(place.shape_zyx, place.spacing_um, recipe)
        voxel_bytes, wished = decoded_type(opened).itemsize, stack.probability is not None
        needed = room_for(place.shape_zyx, voxel_bytes, grid, method, probability=wished)
        claim(needed, voxel_bytes * prod(place.shape_zyx))
        image = decode(opened, scratch, report)
    # measured on the voxels that the microscope recorded, as preprocess does
    scale = measure_scale(image, recipe)
    for doubt in doubts_about(image, scale, place.spacing_um, method.domains, recipe.normalisation):
        report.warn(doubt)
    return Prepared(image=image, scale=scale, grid=grid)


def compute(prepared: Prepared, place: StackGeometry, method: Method, scratch: Scratch, report: Report) -> Computed:
    """The probability, and the mask without small parts."""
    probability = _probability(prepared, method, scratch, report)
    planes = planes_above(probability, method.evaluation.threshold)
    mask = scratch.volume("mask", place.shape_zyx, np.uint8).append(planes)
    mask = _without_small(mask, method.evaluation.min_component_um3, place.spacing_um, scratch, report)
    voxels = sum(int(np.count_nonzero(plane)) for plane in mask)
    return Computed(image=prepared.image, mask=mask, probability=probability, vessel_voxels=voxels)


def write(stack: StackRequest, place: StackGeometry, computed: Computed) -> None:
    """Write the files that `stack` asks for."""
    write_mask(stack.mask, computed.mask, place)
    if stack.probability is not None:
        write_probability(stack.probability, computed.probability, place)
    if stack.picture is not None:
        write_picture(stack.picture, computed.image, computed.mask, place.spacing_um)


def _probability(prepared: Prepared, method: Method, scratch: Scratch, report: Report) -> DiskVolume:
    """Foreground probability on the image's own grid; the networks see the image on `prepared.grid`."""
    image, grid = prepared.image, prepared.grid
    if grid == image.shape:
        return _predict(Normalised(volume=image, scale=prepared.scale), method, scratch, report)
    report.inform(f"resampled to {' × '.join(map(str, grid))} voxels, as in training")
    resampled = scratch.volume("resampled", grid, np.float32)
    resampled.append(resample_slices(image, grid, scratch.file("in_plane")))
    found = _predict(Normalised(volume=resampled, scale=prepared.scale), method, scratch, report)
    native = scratch.volume("native", image.shape, np.float32)
    return native.append(resample_slices(found, image.shape, scratch.file("in_plane")))


def _predict(source: Normalised, method: Method, scratch: Scratch, report: Report) -> DiskVolume:
    """Foreground probability on the grid of `source`."""
    shape = source.volume.shape
    tiling = tile(shape, method.ensemble.patch_voxels, method.evaluation.overlap)
    with report.steps("predict", tiling.bands) as tick:

        def done() -> None:
            method.guard.raise_if_crossed("during prediction")
            tick()

        predict = method.predictor(shape)
        slices = predict_slices(source.read, predict, tiling, scratch.file("sums"), method.batch_size, done)
        return scratch.volume("probability", shape, np.float32).append(finite(plane) for plane in slices)


def _without_small(
    mask: DiskVolume, least_um3: float | None, spacing_um: Spacing, scratch: Scratch, report: Report
) -> DiskVolume:
    """`mask` without connected parts below `least_um3`."""
    if not least_um3:
        return mask
    return scratch.volume("kept", mask.shape, np.uint8).append(without_small(mask, least_um3, spacing_um, report))


def without_small(
    mask: Iterable[NDArray[Any]], least_um3: float, spacing_um: Spacing, report: Report
) -> Iterator[NDArray[np.bool_]]:
    """The slices (yx) of `mask`, which is read twice, without connected parts below `least_um3`."""
    parts = Components(mask)
    small = parts.below(least_um3, spacing_um)
    report.inform(f"removed {np.count_nonzero(small)} of {len(small)} connected parts, below {least_um3:g} µm³")
    return parts.only(~small)
