"""`capillary predict`: a checked request runs in an executor, and its files appear where the user wants them."""

from collections.abc import Callable
from pathlib import Path

from capillary.launcher.publish import publish_file
from capillary.launcher.run import Executor, choose_executor
from capillary.launcher.sandbox import own_folder
from capillary.launcher.stop import Stop
from capillary.prediction.checks import check_request
from capillary.prediction.plan import PredictPlan, plan_prediction
from capillary.settings import read_settings
from stages.common.progress import say
from stages.predict.request import REQUEST_FILE, PredictRequest


def run_prediction(request: PredictRequest, root: Path, stop: Stop) -> int:
    """Predict one stack, and publish its files once all of them are there; returns the exit code."""
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


def execute(plan: PredictPlan, executor: Executor, stop: Stop, publish: Callable[[Path], None]) -> int:
    """Run `plan` with its request in a file that lives as long as the run; returns the exit code."""
    with own_folder(plan.stage) as folder:
        file = folder / REQUEST_FILE
        file.write_text(plan.request.model_dump_json(), encoding="utf-8")
        return executor.execute(plan.with_request_file(file), stop, publish)
