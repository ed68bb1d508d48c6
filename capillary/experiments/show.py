"""What an experiment would do, and what became of it, in words."""

from collections.abc import Sequence

from rich.table import Table

from capillary.dvc.forecast import StageForecast
from capillary.experiments.cells import Outcome, Slot
from capillary.experiments.config import ExperimentConfig
from stages.common.program.console import plain, print_answer, print_table
from stages.common.program.messages import get_logger

log = get_logger(__name__)


def show_plan(config: ExperimentConfig, plan: Sequence[StageForecast], slots: Sequence[Slot]) -> None:
    """A row per stage: whether it would run, and why; then where the cells would run."""
    table = Table(title=plain(f"{config.name}: what would run"), title_justify="left")
    for name in ("stage", "", "why"):
        table.add_column(name, no_wrap=name != "why")
    for stage in plan:
        table.add_row(plain(stage.address), "[cyan]run[/]" if stage.runs else "skip", plain(stage.why))
    print_table(table)
    running = sum(stage.runs for stage in plan)
    print_answer(
        f"{running} of {len(plan)} stages would run; cells side by side on: {', '.join(slot.name for slot in slots)}"
    )


def tell_end(name: str, outcomes: Sequence[Outcome], code: int) -> None:
    """Which cells failed, and what to do."""
    failed = [outcome for outcome in outcomes if outcome.code]
    if code == 0:
        log.info(f"experiment {name} is complete; compare with others: dvc exp show")
        return
    for outcome in failed:
        log.error(f"{outcome.address} ended with exit code {outcome.code}: {outcome.log}")
    if failed and len(failed) < len(outcomes):
        log.info("to measure the trained cells now: capillary evaluate --complete (metrics/partial, reports/partial)")
    log.error(f"experiment {name} is not complete; repeat the same command: it runs only what is missing")
