"""`capillary predict`: a checked request runs in an executor, and its files appear where the user wants them."""

from pathlib import Path

from capillary.launcher.publish import publish_file
from capillary.launcher.run import choose_executor
from capillary.lifetimes.stop import Stop
from capillary.prediction.checks import check_request
from capillary.prediction.many import predict_many
from capillary.prediction.plan import plan_prediction
from capillary.prediction.running import execute
from capillary.settings import read_settings
from stages.common.progress import say
from stages.predict.request import PredictRequest


def run_prediction(request: PredictRequest, root: Path, stop: Stop) -> int:
    """Predict the stacks of `request`; returns the exit code.

    The files of a single stack are published once all of them are there.
    """
    if request.folder is not None:
        return predict_many(request, root, stop)
    check_request(request)
    settings = read_settings(root)
    executor = choose_executor(settings)
    plan = plan_prediction(request, root, settings, executor)
    (stack,) = request.stacks

    def publish(work: Path) -> None:
        for out, target in zip(plan.stage.outs, stack.files, strict=True):
            publish_file(work / out, target.absolute())
        say(f"wrote {', '.join(map(str, stack.files))}")

    return execute(plan, executor, stop, publish)
