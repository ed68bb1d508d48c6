"""A run of the stage `report`, which asks MLflow and draws in evaluate's environment; its files are published here."""

import dataclasses
import tempfile
from collections.abc import Iterator
from pathlib import Path

from capillary.executors.choose import choose_executor
from capillary.lifetimes.stop import Stop
from capillary.models.steps import Step, plan_step
from capillary.planning.plan import StagePlan
from capillary.publishing.publish import publish_file, publish_out
from capillary.settings import Settings
from stages.common.errors import CapillaryError, ExitCode
from stages.common.requests.report import DAMAGES, OUT, Damage, ReportRequest, read_damages, request_tree
from stages.common.tracking.address import VARIABLE

STAGE = "report"
RESULTS = ("metrics", "models")  # what the stages left in the workspace


def run_report(request: ReportRequest, root: Path, settings: Settings, stop: Stop, folder: Path) -> tuple[Damage, ...]:
    """Have the files of the report made and put into `folder`; what of the results is there and cannot be read.

    Raises CapillaryError with the exit code of a stage that failed, after it said why.
    """
    if request.untracked is not None:  # an address that would be refused
        rest = {name: value for name, value in settings.variables.items() if name != VARIABLE}
        settings = settings.model_copy(update={"variables": rest})
    executor = choose_executor(settings)
    (root / ".capillary").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="report-", dir=root / ".capillary") as name:
        made = Path(name)
        step = Step(stage=STAGE, argv=(), takes=None, makes=OUT, root=root)
        given = {each: root / each for each in _results(root)}
        plan = _following_links(plan_step(step, made, settings, executor, also=given))
        plan = dataclasses.replace(plan, order=dataclasses.replace(plan.order, request=request_tree(request)))
        code = executor.execute(plan, stop, lambda work: publish_out(work, OUT, made / OUT))
        if code:
            raise _unwritten(code)
        damages = read_damages((made / OUT / DAMAGES).read_bytes())
        (made / OUT / DAMAGES).unlink()
        for file in sorted((made / OUT).iterdir(), reverse=True):
            publish_file(file, folder / file.name)
        return damages


def _results(root: Path) -> Iterator[str]:
    return (name for name in RESULTS if (root / name).is_dir())


def _following_links(plan: StagePlan) -> StagePlan:
    """`plan` with DVC's own cache, if results are links into it: only DVC knows where it is, and takes a second."""
    places = [dep.host for dep in plan.deps if dep.host is not None and dep.name in RESULTS]
    if not any(file.is_symlink() for place in places for file in place.rglob("*")):
        return plan
    from capillary.dvc.repository import cache_dir_of

    return dataclasses.replace(plan, order=dataclasses.replace(plan.order, cache_dir=cache_dir_of(plan.root)))


def _unwritten(code: int) -> CapillaryError:
    remedy = "do what the lines above say, then run `capillary report`: it reads the results that are here"
    known = ExitCode(code) if code in set(ExitCode) else ExitCode.UNEXPECTED
    return CapillaryError("the report was not written", remedy=remedy, code=known, value=f"exit code {code}")
