"""reports/<name>/: written whole or not at all."""

from collections.abc import Sequence
from pathlib import Path

from capillary.report.facts import RunFacts
from capillary.report.model import Report
from capillary.report.pages.html import to_html
from capillary.report.pages.markdown import to_markdown
from capillary.report.sources.collect import collect
from capillary.report.sources.repository import current_experiment
from capillary.report.sources.results import METRICS_FOLDER
from stages.common.atomic import atomic_write
from stages.common.errors import CapillaryError, DamagedError, ExitCode
from stages.common.progress import say

WORKSPACE = "workspace"
PARTIAL = "partial"  # a folder below metrics/ and below reports/


def write_report(root: Path, name: str, facts: RunFacts, metrics: Path = METRICS_FOLDER) -> Path:
    """Write reports/<name>/report.html and report.md of the workspace `root` as it is now; the path of the page.

    `metrics` is where evaluate's results are.
    What cannot be had (no metrics after a failed training, a server that does not answer) is left out with a sentence
    that says why. Raises CapillaryError for a name that is no folder's and ParamsError for a broken params.yaml.
    """
    return _write(folder_of(root, name), collect(root, name, facts, metrics))


def _write(folder: Path, report: Report) -> Path:
    for file, text in (("report.md", to_markdown(report)), ("report.html", to_html(report))):
        with atomic_write(folder / file) as stream:
            stream.write(text.encode())
    return folder / "report.html"


def report_workspace(root: Path, name: str | None) -> None:
    """The command `capillary report`: under `name`, else that of the DVC experiment that is here, else workspace.

    Raises DamagedError, once the report is written, when something that it should show is there and cannot be read.
    """
    chosen = name or current_experiment(root) or WORKSPACE
    folder = folder_of(root, chosen)
    report = collect(root, chosen, RunFacts())
    page = _write(folder, report)
    say(f"report: {page}")
    say(f"        {page.with_suffix('.md')}")
    if report.damaged:
        raise _incomplete(report.damaged)


def _incomplete(damaged: Sequence[CapillaryError]) -> DamagedError:
    first = damaged[0]
    others = "".join(f"\n    also: {other.what} ({other.file})" for other in damaged[1:])
    return DamagedError(
        f"the report leaves out damaged results: {first.what}{others}",
        file=first.file,
        value=first.value,
        remedy=f"{first.remedy}; then write the report again",
    )


def report_partial(root: Path) -> None:
    """Of the results in metrics/partial/, under their own name."""
    report = collect(root, PARTIAL, RunFacts(), METRICS_FOLDER / PARTIAL)
    say(f"report: {_write(root / 'reports' / PARTIAL, report)}")


def folder_of(root: Path, name: str) -> Path:
    """The folder of the report called `name`; raises CapillaryError for a name that none can have."""
    if name == PARTIAL:
        raise CapillaryError(
            "this name is reserved for the report of an unfinished evaluation",
            value=name,
            remedy="choose another one",
            code=ExitCode.USAGE,
        )
    if not name.strip() or name.startswith(".") or "/" in name or not name.isprintable():
        raise CapillaryError(
            "a report's name is the name of its folder",
            value=name,
            remedy="choose a name without a slash and without a dot at its start",
            code=ExitCode.USAGE,
        )
    return root / "reports" / name
