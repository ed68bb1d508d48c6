"""`capillary predict`: a checked request runs in an executor, and its files appear where the user wants them."""

from pathlib import Path

from capillary.lifetimes.stop import Stop
from capillary.prediction.blocks.run import predict_by_blocks
from capillary.prediction.checks import check_request
from capillary.prediction.many import predict_many
from capillary.prediction.plan import RunOf, plan_prediction
from capillary.prediction.running import Runner, choose_runner, execute
from capillary.prediction.spread.parts import address_of
from capillary.prediction.spread.traces import shared_traces, traces_of
from capillary.publishing.publish import publish_out
from capillary.settings import read_settings
from stages.common.program.messages import get_logger
from stages.common.requests.prediction.request import PredictRequest

log = get_logger(__name__)


def run_prediction(request: PredictRequest, root: Path, stop: Stop) -> int:
    """Predict the stacks of `request`; returns the exit code.

    The files of a single stack are published once all of them are there.
    """
    if request.blocks is not None:
        return predict_by_blocks(request, root, stop)
    if request.folder is not None:
        return predict_many(request, root, stop)
    check_request(request)
    settings = read_settings(root)
    runner = choose_runner(root, settings)
    (stack,) = request.stacks
    plan = plan_prediction(request, root, settings, runner.executor, _run_of(request, root, runner))

    def publish(work: Path) -> None:
        for out, target in zip(plan.stage.outs, stack.files, strict=True):
            publish_out(work, out, target.absolute())
        log.info(f"wrote {', '.join(map(str, stack.files))}")

    return execute(plan, runner.executor, stop, publish)


def _run_of(request: PredictRequest, root: Path, runner: Runner) -> RunOf:
    """How the run is named and known; a job has to be found again by a command that is repeated."""
    if runner.jobs is None:
        return RunOf()
    traces = traces_of(request, shared_traces(request, root))
    return RunOf(address=address_of(request.stacks[0].mask, "1"), hashes=traces, limits=runner.limits)
