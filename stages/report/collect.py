"""Everything that a report shows: what the host, stages' files and MLflow know. Notes say what is missing."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from stages.common.errors import CapillaryError, DamagedError
from stages.common.requests.report import ReportPart, ReportRequest
from stages.common.runtime import Runtime
from stages.report.model import Means, Report, TrainedCell
from stages.report.registered import Registered
from stages.report.sources.held_out import read_held_out, read_spreads
from stages.report.sources.registered import read_trainings
from stages.report.sources.results import (
    read_bands,
    read_calibration,
    read_coverage,
    read_curves,
    read_differences,
    read_metrics,
    read_overlays,
    read_trained,
    read_volumes,
)
from stages.report.sources.tracking import Tracked, left_out, read_runs

Found = TypeVar("Found")
Other = TypeVar("Other")


class Notes(dict[ReportPart, str]):
    """Why parts are missing; `damaged` are files that are there and cannot be read."""

    def __init__(self, known: ReportRequest) -> None:
        super().__init__(known.notes)
        self.damaged: list[DamagedError] = []

    def attempt(self, part: ReportPart, read: Callable[[], Found], otherwise: Other) -> Found | Other:
        """What `read` returns; after an expected failure, a note says why, and `otherwise` is returned."""
        try:
            return read()
        except CapillaryError as error:
            if isinstance(error, DamagedError):
                self.damaged.append(error)
            self[part] = left_out(error)
            return otherwise


def collect(asked: ReportRequest, runtime: Runtime, root: Path = Path()) -> Report:
    """The report that is `asked` for, of what is in `root`."""
    folder = root / asked.folder
    notes = Notes(asked)
    metrics = notes.attempt(ReportPart.METRICS, lambda: read_metrics(folder), {})
    coverage = notes.attempt(ReportPart.METRICS, lambda: read_coverage(folder), None)
    # a cell that failed may have a card of previous params
    cells = [cell for cell in asked.cells if coverage is None or cell not in coverage.missing]
    trained = notes.attempt(ReportPart.RUNS, lambda: read_trained(root, cells, runtime), ())
    curves = notes.attempt(ReportPart.CURVES, lambda: read_curves(root, cells), ())
    tracked, registered = _ask_mlflow(asked, trained, metrics, runtime)
    report = Report(
        asked=asked,
        metrics=metrics,
        differences=notes.attempt(ReportPart.PAIRED, lambda: read_differences(folder), ()),
        volumes=notes.attempt(ReportPart.VOLUMES, lambda: read_volumes(folder), ()),
        bands=notes.attempt(ReportPart.BANDS, lambda: read_bands(folder), ()),
        calibration=notes.attempt(ReportPart.CALIBRATION, lambda: read_calibration(folder), ()),
        curves=curves,
        trained=trained,
        overlays=notes.attempt(ReportPart.OVERLAYS, lambda: read_overlays(folder), ()),
        runs=tracked.runs,
        notes=notes,
        coverage=coverage,
        held_out=notes.attempt(ReportPart.METRICS, lambda: read_held_out(folder), {}),
        registered=registered,
        spreads=notes.attempt(ReportPart.VOLUMES, lambda: read_spreads(folder), ()),
        damaged=(*notes.damaged, *([tracked.damaged] if tracked.damaged else [])),
    )
    _note_what_is_empty(report, tracked, notes)
    return report


def _ask_mlflow(
    asked: ReportRequest,
    trained: tuple[TrainedCell, ...],
    metrics: Means,
    runtime: Runtime,
) -> tuple[Tracked, Registered]:
    """Runs and registered trainings. If the store does not answer about runs, it is not asked about trainings."""
    if asked.untracked is not None:
        return Tracked(missing=asked.untracked), Registered(missing=asked.untracked)
    tracked = read_runs(trained, metrics, runtime, asked.tracking_place)
    if tracked.failure is not None:
        return tracked, Registered(missing=left_out(tracked.failure))
    return tracked, read_trainings(trained, asked.models, runtime, asked.written.tzinfo)


def _note_what_is_empty(report: Report, tracked: Tracked, notes: Notes) -> None:
    """Notes for parts that were read and have nothing to show."""
    if tracked.missing:
        notes.setdefault(ReportPart.RUNS, tracked.missing)
    if not report.trained:
        notes.setdefault(ReportPart.RUNS, "No network is registered: models/ holds no card.")
    if len(report.metrics) == 1:
        notes.setdefault(ReportPart.PAIRED, "One loss was evaluated: there is nothing to compare it with.")
    if not report.curves:
        notes.setdefault(ReportPart.CURVES, "metrics/training/ holds no learning curve.")
    if not any(run.samples for run in report.runs):
        why = "they were shorter than the time between samples, or not monitored" if report.runs else "none was found"
        notes.setdefault(ReportPart.RESOURCES, f"MLflow holds no system metrics of these runs: {why}.")
