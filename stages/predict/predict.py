"""The stage's work from top to bottom: load the networks once, then one stack, many, or a part of either."""

from math import prod

import torch

from stages.common.program.messages import get_logger
from stages.common.requests.prediction.request import PredictRequest
from stages.common.requests.prediction.results import stacks_failed, vessel_words
from stages.common.runtime import Runtime
from stages.predict.batch.batch import Batch
from stages.predict.batch.keys import method_key
from stages.predict.blocks.steps import STEPS
from stages.predict.disk.scratch import Scratch
from stages.predict.opening import opened
from stages.predict.params import Evaluation
from stages.predict.reporting import ALOUD
from stages.predict.steps import compute, prepare, survey, write

log = get_logger(__name__)


def predict(request: PredictRequest, evaluation: Evaluation, runtime: Runtime) -> None:
    """Segment the stacks of `request` and leave their files.

    Raises CapillaryError: DataError for a stack or models that cannot be read, ServiceError for a registry that does
    not answer, and the kind `machine` when the disk has no room for the work. Of many stacks, one that fails is noted
    and the others continue; then the error at the end says how many failed.
    """
    torch.set_num_threads(runtime.threads)
    torch.backends.cudnn.deterministic = True
    if request.blocks is not None:
        STEPS[request.blocks.step](request, evaluation, runtime)
    elif request.folder is None:
        predict_one(request, evaluation, runtime)
    else:
        predict_many(request, evaluation, runtime)


def predict_one(request: PredictRequest, evaluation: Evaluation, runtime: Runtime) -> None:
    """Segment the only stack of `request`."""
    (stack,) = request.stacks
    place = survey(stack, ALOUD)  # before the networks, which take longer
    with opened(request, evaluation, runtime) as (method, _), Scratch(stack.mask) as scratch:
        prepared = prepare(stack, place, method, scratch, lambda needed, _: scratch.refuse_full_disk(needed), ALOUD)
        computed = compute(prepared, place, method, scratch, ALOUD)
        write(stack, place, computed)
        log.info(vessel_words(computed.vessel_voxels, prod(place.shape_zyx)))


def predict_many(request: PredictRequest, evaluation: Evaluation, runtime: Runtime) -> None:
    """Segment all stacks of `request`, and report each in its folder (stages/common/requests/prediction/results.py).

    Where the stacks are a part of those that a user named, the launcher counts the failures of all parts.
    """
    assert request.folder is not None
    request.folder.mkdir(exist_ok=True)
    with opened(request, evaluation, runtime) as (method, cards):
        batch = Batch(request, method, method_key(cards, evaluation))
        batch.run()
    if batch.failed and not request.is_part:
        raise stacks_failed(batch.failed, len(request.stacks))
