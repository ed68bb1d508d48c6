"""Who runs a prediction, and a run of it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from capillary.executors.choose import Executor, choose_executor
from capillary.lifetimes.stop import Stop
from capillary.prediction.plan import STAGE, PredictPlan
from capillary.settings import Settings
from stages.common.machine.limits import Limits, find_limits

if TYPE_CHECKING:
    from capillary.places.choose import Jobs


@dataclass(frozen=True, kw_only=True)
class Runner:
    """Who runs the plans of a prediction. `jobs` is None on this machine."""

    executor: Executor
    limits: Callable[[], Limits] = find_limits
    jobs: "Jobs | None" = None


def choose_runner(root: Path, settings: Settings) -> Runner:
    """The place beyond this machine where its configuration names a profile for predict; else an executor here."""
    if settings.is_elsewhere:
        from capillary.places.choose import choose_place, jobs_of  # for those who have a cluster only

        place = choose_place(root, STAGE, settings)
        if place is not None:
            return Runner(executor=place, limits=place.limits, jobs=jobs_of(root, settings, STAGE))
    return Runner(executor=choose_executor(settings))


def execute(plan: PredictPlan, executor: Executor, stop: Stop, publish: Callable[[Path], None]) -> int:
    """Run `plan`; returns the exit code."""
    return executor.execute(plan.run, stop, publish)
