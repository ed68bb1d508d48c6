"""The second step: blocks of a stack, each read, predicted and written by itself. Memory holds one of them."""

from collections.abc import Iterable, Iterator
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.common.errors import DataError, MachineError
from stages.common.imaging.intensities.normalise import Scale, apply_scale
from stages.common.imaging.zyx import Box
from stages.common.machine.memory import memory_room
from stages.common.requests.prediction.grid import chunk_shape
from stages.common.requests.prediction.records import SURVEY_FILE, BlockResult, BlockResults, BlockSurvey
from stages.common.requests.prediction.request import PredictRequest, StackRequest
from stages.common.runtime import Runtime
from stages.common.tiling.tiles import finite, predict_slices, tile
from stages.predict.batch.keys import method_key
from stages.predict.blocks.regions import Region, region_of
from stages.predict.blocks.stores import Stores
from stages.predict.disk.scratch import Scratch
from stages.predict.disk.stored import StoredVolume
from stages.predict.opening import opened
from stages.predict.params import Evaluation
from stages.predict.reporting import ALOUD
from stages.predict.steps import Method

_FLOAT = 4


def predict_blocks(request: PredictRequest, evaluation: Evaluation, runtime: Runtime) -> None:
    """Predict the blocks of `request` into its stores; each is reported in the folder of the request.

    Raises DataError where the stack or the networks are not those of the survey, CapillaryError where memory does not
    hold a block.
    """
    (stack,) = request.stacks
    assert request.blocks is not None
    assert request.folder is not None
    stack.mask.parent.mkdir(parents=True, exist_ok=True)
    survey = BlockSurvey.model_validate_json(Path(SURVEY_FILE).read_bytes())
    numbers = request.blocks.numbers
    with (
        opened(request, evaluation, runtime) as (method, cards),
        Scratch(stack.mask) as scratch,
        StoredVolume(stack.image, stack.channel, scratch, stack.level_um) as volume,
        BlockResults(request.folder) as results,
        ALOUD.steps("predict", len(numbers)) as tick,
    ):
        refuse_other(survey, volume.shape, method_key(cards, evaluation), stack)
        work = Work(survey, method, volume, scratch)
        stores = Stores(stack, survey)
        for number in numbers:
            box = survey.grid.box(number)
            vessel = stores.write(box, work.slices(box), evaluation.threshold)
            results.append(BlockResult(number=number, vessel_voxels=vessel))
            tick()


def refuse_other(survey: BlockSurvey, shape_zyx: tuple[int, int, int], method: str, stack: StackRequest) -> None:
    """Raise DataError unless the stack and the networks are those that were surveyed."""
    if shape_zyx != survey.shape_zyx or method != survey.method:
        what = "the stack" if shape_zyx != survey.shape_zyx else "the networks"
        raise DataError(
            f"{what} changed while the blocks were being predicted",
            file=stack.image.name,
            remedy="start again with --force, which drops the blocks that are done; name a version of a model "
            "(NAME/VERSION) if its alias may move",
        )


class Work:
    """Predicts blocks of one stack."""

    def __init__(self, survey: BlockSurvey, method: Method, volume: StoredVolume, scratch: Scratch) -> None:
        self._method, self._volume, self._scratch = method, volume, scratch
        self._scale = Scale(offset=survey.offset, divisor=survey.divisor, clip=survey.clip)
        self._predict = method.predictor(survey.shape_zyx)
        self._tiling = tile(survey.shape_zyx, method.ensemble.patch_voxels, method.evaluation.overlap)

    def slices(self, box: Box) -> Iterator[NDArray[np.float32]]:
        """Foreground probability of the slices (yx) of `box`."""
        region = region_of(self._tiling, box, self._method.batch_size)
        _refuse_large(region, box, self._volume.dtype.itemsize)
        voxels = self._volume.read_box(region.outer)

        def read(z: slice, y: slice) -> NDArray[np.float32]:
            return apply_scale(voxels[z, y], self._scale)

        predicted = predict_slices(
            read,
            self._predict,
            region.tiling,
            self._scratch.file("sums"),
            self._method.batch_size,
            self._check,
        )
        yield from _cropped(predicted, region.inner)

    def _check(self) -> None:
        self._method.guard.raise_if_crossed("during prediction")


def _cropped(slices: Iterable[NDArray[np.float32]], inner: Box) -> Iterator[NDArray[np.float32]]:
    z, y, x = inner
    for number, plane in enumerate(slices):
        if z.start <= number < z.stop:
            yield finite(plane[y, x])


def _refuse_large(region: Region, box: Box, itemsize: int) -> None:
    """Raise CapillaryError where memory does not hold the voxels of a region, a row of its patches and a slab."""
    z, y, x = region.tiling.shape
    depth, height, _ = (axis.patch for axis in region.tiling.axes)
    band = 3 * _FLOAT * depth * height * x
    sizes: list[Any] = [part.stop - part.start for part in box]
    slab = 3 * _FLOAT * chunk_shape((sizes[0], sizes[1], sizes[2]))[0] * sizes[1] * sizes[2]
    needed, room = itemsize * prod((z, y, x)) + band + slab, memory_room()
    if needed > room.bytes:
        raise MachineError(
            f"a block of {' × '.join(map(str, sizes))} voxels does not fit into memory",
            value=f"{needed / 1e9:.1f} GB are needed, {room.bytes / 1e9:.1f} GB {room.where}",
            remedy="choose smaller ones, such as --blocks 64,512,512, or use a machine with more memory",
        )
