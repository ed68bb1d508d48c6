"""What the host alone knows for a report: params.yaml, Git, DVC, this machine. What cannot be had is noted."""

import datetime
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from capillary.models.known import training_names
from capillary.params_file import listed_cells, read_params_file
from capillary.report.machine import machine_rows, version_rows
from capillary.report.repository import changed_stages, read_params, read_repository, repeat_lines
from capillary.settings import Settings
from stages.common.errors import CapillaryError, DamagedError
from stages.common.requests.report import METRICS_FOLDER, Damage, ReportPart, ReportRequest, RunFacts
from stages.common.text import without_login
from stages.common.tracking.address import EMBEDDED, VARIABLE, read_address

Found = TypeVar("Found")
Other = TypeVar("Other")


@dataclass(frozen=True, kw_only=True)
class Gathered:
    """The request, and what of the host's own is there and cannot be read."""

    request: ReportRequest
    damaged: tuple[Damage, ...]


@dataclass(frozen=True, kw_only=True)
class _Notes:
    """Why parts are missing, as the stage says it of its own."""

    notes: dict[ReportPart, str] = field(default_factory=dict)
    damaged: list[Damage] = field(default_factory=list)

    def attempt(self, part: ReportPart, read: Callable[[], Found], otherwise: Other) -> Found | Other:
        """What `read` gives; if it fails in a foreseen way, a note says so and `otherwise` is used."""
        try:
            return read()
        except CapillaryError as error:
            if isinstance(error, DamagedError):
                self.damaged.append(Damage.of(error))
            self.notes[part] = left_out(error)
            return otherwise


def gather(root: Path, name: str, facts: RunFacts, settings: Settings, folder: Path = METRICS_FOLDER) -> Gathered:
    """The request for the report `name` of the workspace `root` as it is now, with evaluate's results in its `folder`.

    Raises ParamsError when params.yaml cannot be read.
    """
    params = read_params_file(root)
    notes = _Notes()
    repository = notes.attempt(ReportPart.GIT, lambda: read_repository(root), None)
    request = ReportRequest(
        name=name,
        written=datetime.datetime.now().astimezone(),
        folder=folder,
        facts=facts,
        cells=listed_cells(params),
        confidence=_number(params, "confidence"),
        nsd_tolerance_um=_number(params, "nsd_tolerance_um"),
        tracking_place=without_login(tracking_address(settings)),
        untracked=_untracked(settings),
        models=tuple(training_names(root)),
        repository=repository,
        environment=(*(facts.environment or {}).items(), *machine_rows(), *version_rows(root)),
        params=read_params(root),
        repeat=repeat_lines(root, repository, facts.command),
        stale=notes.attempt(ReportPart.LOCK, lambda: changed_stages(root), ()),
        notes=notes.notes,
    )
    return Gathered(request=request, damaged=tuple(notes.damaged))


def left_out(error: CapillaryError) -> str:
    """Why a part is missing."""
    why = "" if error.value is None else f" ({error.value})"
    return f"Left out, because {error.what}{why}. Remedy: {error.remedy}."


def tracking_address(settings: Settings) -> str:
    """Where this project keeps its runs."""
    return settings.variables.get(VARIABLE, EMBEDDED)


def _untracked(settings: Settings) -> str | None:
    """Why nobody can be asked for runs: an address that leads nowhere must not cost the rest of the report."""
    try:
        read_address(tracking_address(settings))
    except CapillaryError as error:
        return left_out(error)
    return None


def _number(params: Mapping[str, Any], key: str) -> float | None:
    section = params.get("evaluation")
    found = section.get(key) if isinstance(section, dict) else None
    return float(found) if isinstance(found, int | float) else None
