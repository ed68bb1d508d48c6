"""Held-out figures as people and MLflow see them."""

from collections.abc import Mapping

from rich.table import Table

from stages.common.metrics import METRICS
from stages.common.program.console import console, plain, print_answer
from stages.common.statistics.groups import LEAST_GROUPS
from stages.common.statistics.results import Interval
from stages.common.text import counted
from stages.evaluate.held_out.rows import HeldOutResult
from stages.evaluate.params import Evaluation
from stages.evaluate.statistics.intervals import interval_text

QUOTE = "the ensemble's held-out figure is the one to quote, provided that it was not used to choose anything"


def print_held_out(results: Mapping[str, HeldOutResult], evaluation: Evaluation) -> None:
    """Its own table, apart from the out-of-fold figures; nothing if no volume is held out."""
    if not results:
        return
    table = Table(title=rf"Held-out volumes, mean over groups \[{evaluation.confidence:.0%} interval]")
    for title in ("loss", "metric", "ensemble", "single networks"):
        table.add_column(title, no_wrap=True)
    for loss, result in results.items():
        for index, (name, interval) in enumerate(result.ensemble.items()):
            metric = METRICS[name].within(evaluation.nsd_tolerance_um)
            single = interval_text(Interval(mean=result.folds[name], ci_low=None, ci_high=None), metric.digits)
            table.add_row("" if index else plain(loss), metric.title, interval_text(interval, metric.digits), single)
        table.add_section()
    console.print(table)
    for loss, result in results.items():
        print_answer(
            f"{loss}: {counted(result.volumes, 'held-out volume')} of {counted(result.groups, 'group')}, "
            f"{counted(result.networks, 'network')}"
        )
        if result.groups < LEAST_GROUPS:
            print_answer(f"{loss}: too few held-out groups for an interval, which needs {LEAST_GROUPS}")
    print_answer(f"no fold saw these volumes: {QUOTE}")


def points_of(results: Mapping[str, HeldOutResult]) -> dict[str, float]:
    """The ensembles' means, and the ends of their intervals, as metrics of an MLflow run."""
    points: dict[str, float] = {}
    for loss, result in results.items():
        for name, interval in result.ensemble.items():
            ends = {"": interval.mean, ".ci_low": interval.ci_low, ".ci_high": interval.ci_high}
            known = {end: value for end, value in ends.items() if value is not None}
            points |= {f"{loss}.test.{name}{end}": value for end, value in known.items()}
    return points
