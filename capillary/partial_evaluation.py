"""`capillary evaluate --complete`: measure the cells that are trained although others failed.

The results go to metrics/partial/, which no entry of dvc.yaml declares. So `dvc status` still reports that evaluate has
not run, and `dvc repro` runs it once all cells are there.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from capillary.compute.computing import stage_compute
from capillary.dvc.forecast import StageForecast, forecast
from capillary.dvc.graph import Entry
from capillary.executors.choose import Executor, choose_executor
from capillary.integrity.delivered import Delivered, refuse_damaged
from capillary.integrity.lock_file import refuse_damaged_lock
from capillary.lifetimes.stop import Stop
from capillary.params_file import check_params, listed_cells, read_params_file
from capillary.planning.access import read_access
from capillary.planning.make_plan import plan_stage
from capillary.planning.plan import StagePlan, StageRequest
from capillary.publishing.publish import publish, refuse_foreign
from capillary.report.write import PARTIAL, report_partial
from capillary.settings import Settings, read_settings
from stages.common.cell_name import FIRST_SEED, CellName
from stages.common.errors import DataError, UsageError
from stages.common.program.messages import get_logger

log = get_logger(__name__)

STAGE, MODELS = "evaluate", "models"
ADDRESS = f"{STAGE}@partial"  # not the entry's own: a search for evaluations in MLflow must not find this one
OUT = f"metrics/{PARTIAL}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class PartialEvaluation:
    """evaluate's entry with the cards of some cells instead of all of models/.

    Satisfies planning.plan.Declared.
    """

    entry: Entry
    cards: tuple[str, ...]

    @property
    def deps(self) -> list[str]:
        """Those of the entry but for the folder of cards, and the cards."""
        return [*(dep for dep in self.entry.deps if dep != MODELS), *self.cards]

    @property
    def outs(self) -> list[str]:
        """One folder, which is not an out of DVC's."""
        return [OUT]

    @property
    def cache_dir(self) -> Path:
        """DVC's local cache."""
        return self.entry.cache_dir

    def params(self) -> dict[str, Any]:
        """Those of the entry."""
        return self.entry.params()

    def dep_hashes(self) -> dict[str, str]:
        """Those of the entry."""
        return self.entry.dep_hashes()


def evaluate_complete(root: Path, stop: Stop) -> int:
    """Measure the cells that are complete, publish metrics/partial/ and its report; returns the exit code.

    Raises CapillaryError when no cell is complete, and when all are: then evaluate itself can run.
    """
    refuse_damaged_lock(root)  # one that is cut would make cells missing
    check_params(root)
    params = read_params_file(root)
    cells = listed_cells(params)
    missing = missing_cells(forecast(root, params), cells)
    refuse_all_or_none(cells, missing)
    for cell, why in missing.items():
        log.warning(f"without {cell.words}: {why}")
    settings = read_settings(root)
    executor = choose_executor(settings)
    plan = plan_partial(root, [cell for cell in cells if cell not in missing], list(missing), settings, executor)
    refuse_foreign_inputs(plan)
    refuse_damaged(delivered_to(plan), root, lambda: stop.asked is not None)

    def publish_outs(work: Path) -> None:
        publish(work, plan.outs, plan.root)

    code = executor.execute(plan, stop, publish_outs)
    if code == 0:
        report_partial(root, stop)
        log.info(f"wrote {OUT}; when all cells are trained, dvc repro evaluates them all")
    return code


def missing_cells(stages: Sequence[StageForecast], cells: Sequence[CellName]) -> dict[CellName, str]:
    """The cells whose training would run, and why: a card of other params or data is there, but is not theirs."""
    why = {stage.address: stage.why for stage in stages if stage.runs}
    return {cell: why[cell.address] for cell in cells if cell.address in why}


def refuse_all_or_none(cells: Sequence[CellName], missing: Mapping[CellName, str]) -> None:
    """Raise CapillaryError if a partial evaluation would be empty or whole."""
    if not missing:
        raise UsageError(
            "every cell is complete, so nothing needs to be left out",
            remedy="run dvc repro evaluate, which measures all of them",
        )
    if len(missing) == len(cells):
        first, why = next(iter(missing.items()))
        raise DataError(
            "no cell is complete, so there is nothing to measure",
            value=f"{first.address}: {why}",
            remedy="run dvc repro, or dvc pull if they were trained elsewhere",
        )


def plan_partial(
    root: Path, complete: Sequence[CellName], missing: Sequence[CellName], settings: Settings, executor: Executor
) -> StagePlan:
    """The plan of evaluate on the cells in `complete`."""
    cards = tuple(f"{MODELS}/{cell.place}.json" for cell in complete)
    declared = PartialEvaluation(entry=Entry(root, STAGE), cards=cards)
    access = read_access(root, STAGE)
    argv = tuple(word for cell in missing for word in ("--without", cell.loss, str(cell.fold), _seed(cell)))
    request = StageRequest(stage=STAGE, address=ADDRESS, argv=argv, root=root, repository=root)
    identity = executor.environment_id(root, STAGE, access)
    compute = stage_compute(root, settings, lambda: executor.gpus(settings))
    return plan_stage(request, declared, access, settings, identity, compute)


def _seed(cell: CellName) -> str:
    return FIRST_SEED if cell.seed is None else str(cell.seed)


def delivered_to(plan: StagePlan) -> Iterator[Delivered]:
    """The files that DVC's cache delivered for `plan`."""
    places = [dep.host for dep in plan.deps if dep.host is not None]
    found = Entry(plan.root, STAGE).delivered()
    return (each for each in found if any(each.file.is_relative_to(place) for place in places))


def refuse_foreign_inputs(plan: StagePlan) -> None:
    """Raise CapillaryError when a stage left a link or the like in what this one reads."""
    for dep in plan.deps:
        if dep.host is not None and not dep.name.startswith("stages/"):
            remedy = f"remove it and run the stage that makes {dep.name} again"
            refuse_foreign(dep.host, dep.name, remedy, cache=plan.cache_dir)
