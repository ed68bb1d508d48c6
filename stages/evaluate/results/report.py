"""The result as people see it: a table on the terminal, an MLflow run."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from rich.table import Table

from stages.common.cell_name import seed_words
from stages.common.metrics import METRICS, Metric
from stages.common.program.console import console, plain, print_answer
from stages.common.statistics.groups import LEAST_GROUPS, group_means
from stages.common.text import counted, percent
from stages.common.tracking.runs import TrackedRun
from stages.evaluate.held_out.rows import HeldOutResult
from stages.evaluate.held_out.showing import points_of
from stages.evaluate.held_out.tables import TEST_CSV
from stages.evaluate.params import Evaluation
from stages.evaluate.partial import Coverage
from stages.evaluate.pictures.overlays import FOLDER, INDEX
from stages.evaluate.results.outputs import BANDS_CSV, METRICS_JSON, PAIRED_CSV, PER_VOLUME, PER_VOLUME_CSV, SUMMARY_CSV
from stages.evaluate.row import Row, over_seeds
from stages.evaluate.small_parts import COMPONENTS_CSV
from stages.evaluate.statistics.calibration import CALIBRATION_CSV, CALIBRATION_VOLUMES_CSV
from stages.evaluate.statistics.intervals import interval_text
from stages.evaluate.statistics.spread import SPREAD_CSV, Spread
from stages.evaluate.statistics.summary import Summary

ARTIFACTS = "evaluation"  # the folder of the run's files


def print_summary(rows: list[Row], summary: Summary, evaluation: Evaluation, coverage: Coverage | None = None) -> None:
    """Loss × metric, each a mean with its interval, and a word on what the numbers cannot say."""
    is_partial = coverage is not None and coverage.is_partial
    of = f" of {coverage.volumes}" if coverage is not None and is_partial else ""
    # a line per metric: intervals next to each other do not fit a terminal of 80 columns
    table = Table(title=rf"Mean over groups \[{evaluation.confidence:.0%} interval]")
    for title in ("loss", "volumes", "metric", "mean"):
        table.add_column(title, no_wrap=True)
    averaged = over_seeds(rows)
    counts = {loss: sum(row.loss == loss for row in averaged) for loss in summary}
    for loss, metrics in summary.items():
        for index, (name, interval) in enumerate(metrics.items()):
            head = ("", "") if index else (plain(loss), f"{counts[loss]}{of}")
            title = METRICS[name].within(evaluation.nsd_tolerance_um).title
            table.add_row(*head, title, interval_text(interval, METRICS[name].digits))
        table.add_section()
    console.print(table)
    if coverage is not None and is_partial:
        print_answer(f"partial: {coverage.words()} left out; means of losses with other volumes are not comparable")
    for loss in counts:
        _show_what_is_independent(loss, [row for row in averaged if row.loss == loss], METRICS[evaluation.metrics[0]])
    _show_what_is_labelled(rows)
    for row in (row for row in rows if row.measurement.rule != "measured"):
        where = f"{row.loss} fold {row.fold}{seed_words(row.seed)} {row.id}"
        print_answer(f"{where}: set by the rule `{row.measurement.rule}` instead of measured")


def _show_what_is_independent(loss: str, rows: list[Row], lead: Metric) -> None:
    values = np.array([row.measurement.values[lead.name] for row in rows])
    means = group_means(values, [row.group for row in rows])
    if len(means) < len(rows):
        print_answer(
            f"{loss}: {counted(len(rows), 'volume')} of {counted(len(means), 'group')}, and only groups are independent"
        )
    if len(means) < LEAST_GROUPS:
        shown = ", ".join(f"{mean:.{lead.digits}f}" for mean in means)
        print_answer(
            f"{loss}: too few groups for an interval, which needs {LEAST_GROUPS}; {lead.title} by group: {shown}"
        )


def _show_what_is_labelled(rows: list[Row]) -> None:
    shares = {(row.fold, row.id): row.measurement.labelled_share for row in rows}
    part = [share for share in shares.values() if share < 1]
    if part:
        mean = percent(sum(shares.values()) / len(shares))
        print_answer(
            f"{mean} of the voxels are labelled, and nothing else counts (in part: {len(part)} of {len(shares)})"
        )
    for row in rows:
        missing = [METRICS[name].title for name, value in row.measurement.values.items() if math.isnan(value)]
        if missing:
            what = f"not measured: {', '.join(missing)}; no block of labelled voxels (docs/labels.md)"
            print_answer(f"{row.loss} fold {row.fold}{seed_words(row.seed)} {row.id}: {what}")


def print_spreads(found: Sequence[Spread], evaluation: Evaluation) -> None:
    """How much the first metric varies with the seed and with the fold; nothing if there is one seed."""
    lead = METRICS[evaluation.metrics[0]]
    for one in found:
        if one.metric == lead.name and one.sd_over_seeds is not None:
            folds = (
                ""
                if one.sd_over_folds is None
                else f", {one.sd_over_folds:.{lead.digits}f} over {counted(one.folds, 'fold')}"
            )
            seeds = f"{one.sd_over_seeds:.{lead.digits}f} over {counted(one.seeds, 'seed')}"
            print_answer(f"{one.loss}: the mean {lead.title} has a standard deviation of {seeds}{folds}")


def log_results(
    run: TrackedRun, folder: Path, rows: list[Row], summary: Summary, held_out: Mapping[str, HeldOutResult]
) -> None:
    """The summary as metrics of `run`, the files of `folder` as its artifacts, and the time that each volume took."""
    points: dict[str, float] = {"seconds": sum(row.seconds for row in rows), **points_of(held_out)}
    for loss, metrics in summary.items():
        for name, interval in metrics.items():
            if interval.mean is None:
                continue
            points[f"{loss}.{name}"] = interval.mean
            ends = {"ci_low": interval.ci_low, "ci_high": interval.ci_high}
            points |= {f"{loss}.{name}.{end}": value for end, value in ends.items() if value is not None}
    run.log_metrics(points, step=0)
    tables = (PER_VOLUME, PER_VOLUME_CSV, SUMMARY_CSV, METRICS_JSON, PAIRED_CSV, BANDS_CSV)
    for name in (*tables, CALIBRATION_CSV, CALIBRATION_VOLUMES_CSV, COMPONENTS_CSV, SPREAD_CSV, TEST_CSV, INDEX):
        run.log_file(folder / name, ARTIFACTS)
    for picture in sorted((folder / FOLDER).iterdir()):
        run.log_file(picture, f"{ARTIFACTS}/{FOLDER}")
