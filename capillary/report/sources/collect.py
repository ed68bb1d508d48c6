"""Everything that a report shows, gathered from files, Git, DVC and MLflow. What is missing is noted, never made up."""

import dataclasses
import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from capillary.params_file import listed_cells, read_params_file
from capillary.report.facts import RunFacts
from capillary.report.model import Report, ReportPart
from capillary.report.sources.held_out import read_held_out, read_spreads
from capillary.report.sources.machine import machine_rows, version_rows
from capillary.report.sources.registered import read_trainings
from capillary.report.sources.repository import changed_stages, read_params, read_repository, repeat_lines
from capillary.report.sources.results import (
    METRICS_FOLDER,
    read_bands,
    read_calibration,
    read_cards,
    read_coverage,
    read_curves,
    read_differences,
    read_metrics,
    read_overlays,
    read_volumes,
)
from capillary.report.sources.tracking import Tracked, read_runs, store_uri
from capillary.settings import read_settings
from stages.common.errors import CapillaryError, DamagedError

Found = TypeVar("Found")
Other = TypeVar("Other")


class Notes(dict[ReportPart, str]):
    """Why parts are missing; `damaged` are the failures that are not for want of a file or a server."""

    def __init__(self) -> None:
        super().__init__()
        self.damaged: list[CapillaryError] = []

    def attempt(self, part: ReportPart, read: Callable[[], Found], otherwise: Other) -> Found | Other:
        """What `read` gives; if it fails in a foreseen way, a note says so and `otherwise` is used."""
        try:
            return read()
        except CapillaryError as error:
            why = "" if error.value is None else f" ({error.value})"
            if isinstance(error, DamagedError):
                self.damaged.append(error)
            self[part] = f"Left out, because {error.what}{why}. Remedy: {error.remedy}."
            return otherwise


def collect(root: Path, name: str, facts: RunFacts, folder: Path = METRICS_FOLDER) -> Report:
    """The report `name` of the workspace `root` as it is now, with evaluate's results in its `folder`.

    Raises ParamsError when params.yaml cannot be read.
    """
    params = read_params_file(root)
    cells = listed_cells(params)
    notes = Notes()
    metrics = notes.attempt(ReportPart.METRICS, lambda: read_metrics(root, folder), {})
    coverage = notes.attempt(ReportPart.METRICS, lambda: read_coverage(root, folder), None)
    # a cell that failed may have a card of previous params
    trained = [cell for cell in cells if coverage is None or cell not in coverage.missing]
    settings = read_settings(root)
    cards = notes.attempt(ReportPart.RUNS, lambda: read_cards(root, trained, store_uri(settings, root)), ())
    curves = notes.attempt(ReportPart.CURVES, lambda: read_curves(root, trained), ())
    repository = notes.attempt(ReportPart.GIT, lambda: read_repository(root), None)
    tracked = read_runs(cards, metrics, settings, root)
    report = Report(
        name=name,
        written=datetime.datetime.now().astimezone(),
        facts=facts,
        cells=cells,
        confidence=_get(params, "evaluation", "confidence", None),
        nsd_tolerance_um=_get(params, "evaluation", "nsd_tolerance_um", None),
        metrics=metrics,
        differences=notes.attempt(ReportPart.PAIRED, lambda: read_differences(root, folder), ()),
        volumes=notes.attempt(ReportPart.VOLUMES, lambda: read_volumes(root, folder), ()),
        bands=notes.attempt(ReportPart.BANDS, lambda: read_bands(root, folder), ()),
        calibration=notes.attempt(ReportPart.CALIBRATION, lambda: read_calibration(root, folder), ()),
        curves=curves,
        cards=cards,
        overlays=notes.attempt(ReportPart.OVERLAYS, lambda: read_overlays(root, folder), ()),
        tracking_place=tracked.place,
        runs=tracked.runs,
        repository=repository,
        environment=(*(facts.environment or {}).items(), *machine_rows(), *version_rows(root)),
        params=read_params(root),
        repeat=repeat_lines(root, repository, facts.command),
        stale=notes.attempt(ReportPart.LOCK, lambda: changed_stages(root), ()),
        notes=notes,
        coverage=coverage,
        held_out=notes.attempt(ReportPart.METRICS, lambda: read_held_out(root, folder), {}),
        registered=read_trainings(cards, settings, root),
        spreads=notes.attempt(ReportPart.VOLUMES, lambda: read_spreads(root, folder), ()),
    )
    _note_what_is_empty(report, tracked, notes)
    damaged = [*notes.damaged, *([tracked.damaged] if tracked.damaged else [])]
    return dataclasses.replace(report, damaged=tuple(damaged))


def _note_what_is_empty(report: Report, tracked: Tracked, notes: Notes) -> None:
    """A part that could be read may still have nothing to show."""
    if tracked.missing:
        notes.setdefault(ReportPart.RUNS, tracked.missing)
    if not report.cards:
        notes.setdefault(ReportPart.RUNS, "No network is registered: models/ holds no card.")
    if len(report.metrics) == 1:
        notes.setdefault(ReportPart.PAIRED, "One loss was evaluated: there is nothing to compare it with.")
    if not report.curves:
        notes.setdefault(ReportPart.CURVES, "metrics/training/ holds no learning curve.")
    if not any(run.samples for run in report.runs):
        why = "they were shorter than the time between samples, or not monitored" if report.runs else "none was found"
        notes.setdefault(ReportPart.RESOURCES, f"MLflow holds no system metrics of these runs: {why}.")


def _get(params: dict[str, Any], section: str, key: str, otherwise: Any) -> Any:
    found = params.get(section)
    return found.get(key, otherwise) if isinstance(found, dict) else otherwise
