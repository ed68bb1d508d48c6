"""The result as people see it: a table on the terminal, an MLflow run."""

from functools import partial
from pathlib import Path

from rich.table import Table

from stages.common.metrics import METRICS
from stages.common.progress import console, say
from stages.common.tracking.runs import TrackedRun
from stages.common.tracking.server import patient_transfers
from stages.evaluate.outputs import METRICS_JSON, PAIRED_CSV, PER_VOLUME, PER_VOLUME_CSV, SUMMARY_CSV
from stages.evaluate.params import BootstrapMethod, Evaluation
from stages.evaluate.pictures.overlays import FOLDER, INDEX
from stages.evaluate.predict import Row
from stages.evaluate.small_parts import COMPONENTS_CSV
from stages.evaluate.statistics.bootstrap import Interval
from stages.evaluate.statistics.calibration import CALIBRATION_CSV, CALIBRATION_VOLUMES_CSV
from stages.evaluate.statistics.summary import Summary

BOOTSTRAP_NAMES = {BootstrapMethod.PERCENTILE: "bootstrap", BootstrapMethod.BCA: "BCa bootstrap"}


def print_summary(rows: list[Row], summary: Summary, evaluation: Evaluation) -> None:
    """Loss × metric, each a mean with its interval, and a word on what the numbers cannot say."""
    # a line a metric: intervals beside each other do not fit a terminal of 80 columns
    table = Table(
        title=rf"Mean over volumes \[{evaluation.confidence:.0%} {BOOTSTRAP_NAMES[evaluation.bootstrap]} interval]"
    )
    for title in ("loss", "volumes", "metric", "mean"):
        table.add_column(title, no_wrap=True)
    counts = {loss: sum(row.loss == loss for row in rows) for loss in summary}
    for loss, metrics in summary.items():
        for index, (name, interval) in enumerate(metrics.items()):
            head = ("", "") if index else (loss, str(counts[loss]))
            table.add_row(*head, METRICS[name].title, _cell(interval, METRICS[name].digits))
        table.add_section()
    console.print(table)
    for loss, count in counts.items():
        _say_what_is_independent(loss, count, len({row.group for row in rows if row.loss == loss}))
    _say_where_bca_is_not_defined(summary, evaluation)
    for row in (row for row in rows if row.measurement.rule != "measured"):
        say(f"{row.loss} fold {row.fold} {row.id}: set by the rule `{row.measurement.rule}` instead of measured")


def _say_what_is_independent(loss: str, volumes: int, groups: int) -> None:
    if volumes == 1:
        say(f"{loss}: one volume gives no interval; both of its ends are the value itself")
    elif groups == 1:
        say(f"{loss}: {volumes} volumes of one group give no interval; both of its ends are the mean itself")
    elif groups < volumes:
        say(f"{loss}: {volumes} volumes of {groups} groups, and only groups are independent")


def _cell(interval: Interval, digits: int) -> str:
    return rf"{interval.mean:.{digits}f} \[{interval.ci_low:.{digits}f}, {interval.ci_high:.{digits}f}]"


def _say_where_bca_is_not_defined(summary: Summary, evaluation: Evaluation) -> None:
    for loss, metrics in summary.items():
        missing = [METRICS[name].title for name, one in metrics.items() if one.method is not evaluation.bootstrap]
        if missing:
            why = "which equal values or a single group do not define"
            say(f"{loss}: percentile instead of BCa interval, {why}: {', '.join(missing)}")


def log_results(run: TrackedRun, folder: Path, rows: list[Row], summary: Summary) -> None:
    """The summary as metrics of `run`, the files of `folder` as its artifacts, and the time that each volume took."""
    points: dict[str, float] = {"seconds": sum(row.seconds for row in rows)}
    for loss, metrics in summary.items():
        for name, interval in metrics.items():
            points[f"{loss}.{name}"] = interval.mean
            points[f"{loss}.{name}.ci_low"] = interval.ci_low
            points[f"{loss}.{name}.ci_high"] = interval.ci_high
    run.log_metrics(points, step=0)
    upload = partial(run.server.client.log_artifact, run.run_id, artifact_path="evaluation")
    with patient_transfers():
        tables = (PER_VOLUME, PER_VOLUME_CSV, SUMMARY_CSV, METRICS_JSON, PAIRED_CSV)
        for name in (*tables, CALIBRATION_CSV, CALIBRATION_VOLUMES_CSV, COMPONENTS_CSV, INDEX):
            run.server.call("take an upload", partial(upload, str(folder / name)))
        pictures = partial(run.server.client.log_artifacts, run.run_id, artifact_path=f"evaluation/{FOLDER}")
        run.server.call("take an upload", partial(pictures, str(folder / FOLDER)))
