"""The last step: what needs the whole mask. It reads the mask that the blocks left slice by slice."""

from collections.abc import Iterator
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stages.common.program.messages import get_logger
from stages.common.requests.prediction.records import ASSEMBLED
from stages.common.requests.prediction.request import PredictRequest, StackRequest
from stages.common.requests.prediction.results import vessel_words
from stages.common.runtime import Runtime
from stages.predict.disk.scratch import Scratch
from stages.predict.disk.stored import StoredVolume
from stages.predict.files.picture import write_picture
from stages.predict.files.writing import StackGeometry, write_mask
from stages.predict.params import Evaluation
from stages.predict.reporting import ALOUD
from stages.predict.steps import survey, without_small

log = get_logger(__name__)


def join_blocks(request: PredictRequest, evaluation: Evaluation, _runtime: Runtime) -> None:
    """Write the mask of `request` without small parts, where it asks for that, and its picture."""
    (stack,) = request.stacks
    assert request.blocks is not None
    place = survey(stack, ALOUD)
    mask = Path(ASSEMBLED, stack.mask.name)
    # temporary files are allowed next to an out, and the mask is not always one
    out = stack.mask if request.blocks.cleans or stack.picture is None else stack.picture
    with Scratch(out) as scratch:
        if request.blocks.cleans:
            assert evaluation.min_component_um3
            _clean(mask, stack.mask, place, evaluation.min_component_um3, scratch)
            mask = stack.mask
        if stack.picture is not None:
            _draw(stack, stack.picture, mask, place, scratch)


def _clean(source: Path, target: Path, place: StackGeometry, least_um3: float, scratch: Scratch) -> None:
    counts: list[int] = []

    def counted(planes: Iterator[NDArray[np.bool_]]) -> Iterator[NDArray[np.bool_]]:
        for plane in planes:
            counts.append(int(np.count_nonzero(plane)))
            yield plane

    with StoredVolume(source, None, scratch) as mask:
        write_mask(target, counted(without_small(mask, least_um3, place.spacing_um, ALOUD)), place)
    log.info(vessel_words(sum(counts), prod(place.shape_zyx)))


def _draw(stack: StackRequest, file: Path, mask: Path, place: StackGeometry, scratch: Scratch) -> None:
    with (
        StoredVolume(stack.image, stack.channel, scratch, stack.level_um) as image,
        StoredVolume(mask, None, scratch) as drawn,
    ):
        write_picture(file, image, drawn, place.spacing_um)
