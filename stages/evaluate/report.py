"""The result as people see it: a table on the terminal, an MLflow run."""

from functools import partial
from pathlib import Path

from rich.table import Table

from stages.common.mlflow_server import patient_transfers
from stages.common.progress import console, say
from stages.common.tracking import TrackedRun
from stages.evaluate.bootstrap import Interval
from stages.evaluate.measure import METRICS
from stages.evaluate.outputs import METRICS_JSON, PAIRED_CSV, PER_VOLUME, PER_VOLUME_CSV, SUMMARY_CSV
from stages.evaluate.overlays import FOLDER, INDEX
from stages.evaluate.predict import Row
from stages.evaluate.summary import Summary

TITLES = {
    "dsc": "DSC",
    "centreline_dsc": "centreline DSC",
    "measured_masd_um": "MASD (µm)",
    "measured_masd_voxels": "MASD (voxels)",
}


def print_summary(rows: list[Row], summary: Summary, confidence: float) -> None:
    """Loss × metric, each a mean with its interval, and a word on what the numbers cannot say."""
    # a line a metric: four intervals beside each other do not fit a terminal of 80 columns
    table = Table(title=rf"Mean over volumes \[{confidence:.0%} bootstrap interval]")
    for title in ("loss", "volumes", "metric", "mean"):
        table.add_column(title, no_wrap=True)
    counts = {loss: sum(row.loss == loss for row in rows) for loss in summary}
    for loss, metrics in summary.items():
        for metric in METRICS:
            head = (loss, str(counts[loss])) if metric == METRICS[0] else ("", "")
            table.add_row(*head, TITLES[metric], _cell(metrics[metric]))
        table.add_section()
    console.print(table)
    for loss in (loss for loss, count in counts.items() if count == 1):
        say(f"{loss}: one volume gives no interval; both of its ends are the value itself")
    for row in (row for row in rows if row.measurement.rule != "measured"):
        say(f"{row.loss} fold {row.fold} {row.id}: set by the rule `{row.measurement.rule}` instead of measured")


def _cell(interval: Interval) -> str:
    return rf"{interval.mean:.3f} \[{interval.ci_low:.3f}, {interval.ci_high:.3f}]"


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
        for name in (PER_VOLUME, PER_VOLUME_CSV, SUMMARY_CSV, METRICS_JSON, PAIRED_CSV, INDEX):
            run.server.call("take an upload", partial(upload, str(folder / name)))
        pictures = partial(run.server.client.log_artifacts, run.run_id, artifact_path=f"evaluation/{FOLDER}")
        run.server.call("take an upload", partial(pictures, str(folder / FOLDER)))
