"""reports/<name>/: what it may be called, who writes it, and what is said of it."""

from collections.abc import Sequence
from pathlib import Path

from capillary.lifetimes.stop import Stop
from capillary.report.gather import gather
from capillary.report.repository import current_experiment
from capillary.report.run import run_report
from capillary.settings import read_settings
from stages.common.errors import DamagedError, UsageError
from stages.common.program.messages import get_logger
from stages.common.requests.report import MARKDOWN, METRICS_FOLDER, PAGE, Damage, RunFacts

log = get_logger(__name__)

WORKSPACE = "workspace"
PARTIAL = "partial"  # a folder below metrics/ and below reports/


def write_report(root: Path, name: str, facts: RunFacts, stop: Stop) -> Path:
    """Write reports/<name>/report.html and report.md of the workspace `root` as it is now; the path of the page.

    What is missing (no metrics after a failed training, a server that does not answer) is left out, and a sentence says
    why. Raises CapillaryError if `name` cannot be a folder or the stage fails, ParamsError for a broken params.yaml.
    """
    folder = folder_of(root, name)
    _write(root, folder, facts, stop)
    return folder / PAGE


def _write(root: Path, folder: Path, facts: RunFacts, stop: Stop, metrics: Path = METRICS_FOLDER) -> tuple[Damage, ...]:
    settings = read_settings(root)
    gathered = gather(root, folder.name, facts, settings, metrics)
    return (*run_report(gathered.request, root, settings, stop, folder), *gathered.damaged)


def report_workspace(root: Path, name: str | None, stop: Stop) -> None:
    """The command `capillary report`: under `name`, else that of the DVC experiment that is here, else workspace.

    Raises DamagedError, once the report is written, when something that it should show is there and cannot be read.
    """
    folder = folder_of(root, name or current_experiment(root) or WORKSPACE)
    damaged = _write(root, folder, RunFacts(), stop)
    log.info(f"report: {folder / PAGE}")
    log.info(f"        {folder / MARKDOWN}")
    if damaged:
        raise _incomplete(damaged)


def _incomplete(damaged: Sequence[Damage]) -> DamagedError:
    first = damaged[0]
    others = "".join(f"\n    also: {other.what} ({other.file})" for other in damaged[1:])
    return DamagedError(
        f"the report leaves out damaged results: {first.what}{others}",
        file=first.file,
        value=first.value,
        remedy=f"{first.remedy}; then write the report again",
    )


def report_partial(root: Path, stop: Stop) -> None:
    """Of the results in metrics/partial/, under their own name."""
    folder = root / "reports" / PARTIAL
    _write(root, folder, RunFacts(), stop, METRICS_FOLDER / PARTIAL)
    log.info(f"report: {folder / PAGE}")


def folder_of(root: Path, name: str) -> Path:
    """The folder of the report called `name`; raises CapillaryError for a name that none can have."""
    if name == PARTIAL:
        raise UsageError(
            "this name is reserved for the report of an unfinished evaluation",
            value=name,
            remedy="choose another one",
        )
    if not name.strip() or name.startswith(".") or "/" in name or not name.isprintable():
        raise UsageError(
            "a report's name is the name of its folder",
            value=name,
            remedy="choose a name without a slash and without a dot at its start",
        )
    return root / "reports" / name
