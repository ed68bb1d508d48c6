"""`capillary stage NAME ARGS`: from the environment that DVC sets to a stage that ran."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from capillary.launcher import process
from capillary.launcher.graph import Entry
from capillary.launcher.plan import StagePlan, StageRequest, plan_stage
from capillary.params_file import refuse_unknown_keys
from capillary.settings import ExecutorName, Settings, read_settings
from stages.common.errors import CapillaryError, ExitCode
from stages.common.progress import say

Executor = Callable[[StagePlan], int]


def run_stage(name: str, argv: tuple[str, ...], environment: Mapping[str, str]) -> int:
    """Plan and execute the stage that DVC asks for (DVC_ROOT, DVC_STAGE); returns its exit code.

    When it fails, the outs that DVC removed before it started are put back from DVC's cache.
    """
    request = read_request(name, argv, environment)
    entry = Entry(request.root, request.address)
    code: int = ExitCode.UNEXPECTED
    try:
        refuse_unknown_keys(request.root)
        settings = read_settings(request.repository)
        plan = plan_stage(request, entry, settings)
        code = choose_executor(settings)(plan)
    finally:
        if code:
            _restore(entry)
    if plan.state_dir.is_dir() and (code == 0 or not any(plan.state_dir.iterdir())):
        # the outs stand, or nothing was kept: there is nothing to resume
        shutil.rmtree(plan.state_dir)
    return code


def read_request(name: str, argv: tuple[str, ...], environment: Mapping[str, str]) -> StageRequest:
    """What DVC asks for, from the environment of a cmd.

    DVC starts a cmd in the folder of its dvc.yaml. DVC_ROOT is the repository: in a temporary or queued experiment
    that is not the workspace, which lies under .dvc/tmp/exps.
    """
    address = environment.get("DVC_STAGE", name)
    if address.split("@")[0] != name:
        raise CapillaryError(
            f"the cmd of {address} runs the stage {name}",
            file="dvc.yaml",
            remedy=f"write `capillary stage {address.split('@')[0]}` in the cmd of this entry",
            code=ExitCode.USAGE,
        )
    root = Path.cwd()
    repository = Path(environment.get("DVC_ROOT", root)).resolve()
    return StageRequest(stage=name, address=address, argv=argv, root=root, repository=repository)


def choose_executor(settings: Settings) -> Executor:
    """The executor that CAPILLARY_EXECUTOR asks for; `auto` takes plain processes."""
    if settings.executor is ExecutorName.DOCKER:
        raise CapillaryError(
            "this version has no container executor",
            value="CAPILLARY_EXECUTOR=docker",
            remedy="unset CAPILLARY_EXECUTOR, or set it to auto or process",
            code=ExitCode.USAGE,
        )
    return process.execute


def _restore(entry: Entry) -> None:
    restored = entry.restore_outs()
    if restored:
        say(f"former {', '.join(restored)} put back from DVC's cache")
