"""A planned prediction runs in an executor, with its request in a file."""

from collections.abc import Callable
from pathlib import Path

from capillary.launcher.run import Executor
from capillary.launcher.sandbox import own_folder
from capillary.lifetimes.stop import Stop
from capillary.prediction.plan import PredictPlan
from stages.predict.request import REQUEST_FILE


def execute(plan: PredictPlan, executor: Executor, stop: Stop, publish: Callable[[Path], None]) -> int:
    """Run `plan` with its request in a file that lives as long as the run; returns the exit code."""
    with own_folder(plan.stage) as folder:
        file = folder / REQUEST_FILE
        file.write_text(plan.request.model_dump_json(), encoding="utf-8")
        return executor.execute(plan.with_request_file(file), stop, publish)
