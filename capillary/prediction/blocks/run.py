"""One stack by blocks: survey, blocks, join, each a run of the stage; then the files get their names."""

import shutil
from math import prod
from pathlib import Path

from capillary.lifetimes.stop import Stop
from capillary.prediction.blocks.kept import Kept, kept_folder
from capillary.prediction.blocks.steps import Steps
from capillary.prediction.checks import check_request
from capillary.prediction.plan import cards_of, visible_params
from capillary.prediction.running import choose_runner
from capillary.prediction.spread.traces import shared_traces, traces_of
from capillary.publishing.publish import publish_file, refuse_foreign
from capillary.settings import read_settings
from stages.common.program.messages import get_logger
from stages.common.requests.prediction.content import hash_of
from stages.common.requests.prediction.request import PredictRequest, StackRequest
from stages.common.requests.prediction.results import vessel_words

log = get_logger(__name__)


def predict_by_blocks(request: PredictRequest, root: Path, stop: Stop) -> int:
    """Predict the stack of `request` by blocks; returns the exit code.

    What is done when a run ends early stays in a hidden folder next to the mask, and the same command continues.
    """
    check_request(request)
    settings = read_settings(root)
    (stack,) = request.stacks
    params = visible_params(request, root, cards_of(request, root))
    cleans = bool(params["evaluation"]["min_component_um3"])
    shared = shared_traces(request, root)
    with kept_folder(stack.mask) as kept:
        kept.begin(hash_of(traces_of(request, shared)))
        steps = Steps(
            request=request,
            root=root,
            settings=settings,
            runner=choose_runner(root, settings),
            kept=kept,
            shared=shared,
            stop=stop,
        )
        code = _work(steps, cleans=cleans)
        if code:
            log.info("the same command continues with the blocks that are missing")
            return code
        _publish(stack, kept, cleans=cleans)
        shutil.rmtree(kept.folder)
    log.info(f"wrote {', '.join(map(str, stack.files))}")
    return 0


def _work(steps: Steps, *, cleans: bool) -> int:
    """All steps one after the other; returns the first exit code that is not 0."""
    if code := steps.survey() or steps.stop.exit_code:
        return code
    survey = steps.kept.survey()
    assert survey is not None
    if code := steps.predict(survey) or steps.stop.exit_code:
        return code
    if not cleans:
        log.info(vessel_words(sum(steps.kept.done(survey).values()), prod(survey.shape_zyx)))
    return steps.join(cleans=cleans) or steps.stop.exit_code


def _publish(stack: StackRequest, kept: Kept, *, cleans: bool) -> None:
    """Give the files their names, the mask last: whoever sees it sees all of them."""
    refuse_foreign(kept.work, f"what predict made of {stack.image.name}", "this is a defect; report it")
    made = {stack.probability: kept.work, stack.picture: kept.joined, stack.mask: kept.joined if cleans else kept.work}
    for file, folder in made.items():
        if file is not None:
            publish_file(folder / file.name, file.absolute())
