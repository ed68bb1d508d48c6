"""Who runs plans on this machine. Nothing here knows DVC: a node of a cluster loads this module, too."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from capillary.executors.process import execute as process
from capillary.lifetimes.stop import Stop
from capillary.planning.access import StageAccess
from capillary.planning.plan import StagePlan
from capillary.settings import ExecutorName, Settings
from stages.common.errors import ServiceError
from stages.common.machine.gpus import Gpu
from stages.common.machine.limits import Limits


class Executor(Protocol):
    """Where plans run. The process executor's module is one."""

    def environment_id(self, repository: Path, stage: str, access: StageAccess, /) -> list[str]:
        """What the packages that the stage sees are known by: they decide a result, like its code."""

    def gpus(self, settings: Settings, /) -> tuple[Gpu, ...]:
        """The GPUs that stages can have; asked after `environment_id`."""

    def limits(self) -> Limits:
        """Cores and memory that stages have between them."""

    def execute(self, plan: StagePlan, stop: Stop, publish: Callable[[Path], None], /) -> int:
        """Run `plan`, let `publish` take the outs of a stage that ended well, return the exit code."""


def choose_executor(settings: Settings) -> Executor:
    """The executor that CAPILLARY_EXECUTOR asks for; `auto` takes containers when a Docker daemon answers."""
    if settings.executor is ExecutorName.PROCESS:
        return process
    if settings.executor is ExecutorName.APPTAINER:
        from capillary.executors.container.apptainer.execute import ApptainerExecutor

        return ApptainerExecutor(settings)
    # half the launcher's own imports, for those who have a daemon only
    from capillary.executors.container.execute import ContainerExecutor

    try:
        return ContainerExecutor(settings)
    except ServiceError:
        if settings.executor is not ExecutorName.AUTO:
            raise
        return process
