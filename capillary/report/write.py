"""reports/<name>/: written whole or not at all."""

from pathlib import Path

from capillary.report.facts import RunFacts
from capillary.report.pages.html import to_html
from capillary.report.pages.markdown import to_markdown
from capillary.report.sources.collect import collect
from capillary.report.sources.repository import current_experiment
from capillary.report.sources.results import METRICS_FOLDER
from stages.common.atomic import atomic_write
from stages.common.errors import CapillaryError, ExitCode
from stages.common.progress import say

WORKSPACE = "workspace"
PARTIAL = "partial"  # a folder below metrics/ and below reports/


def write_report(root: Path, name: str, facts: RunFacts, metrics: Path = METRICS_FOLDER) -> Path:
    """Write reports/<name>/report.html and report.md of the workspace `root` as it is now; the path of the page.

    `metrics` is where evaluate's results are.
    What cannot be had (no metrics after a failed training, a server that does not answer) is left out with a sentence
    that says why. Raises CapillaryError for a name that is no folder's and ParamsError for a broken params.yaml.
    """
    folder = _folder(root, name)
    report = collect(root, name, facts, metrics)
    for file, text in (("report.md", to_markdown(report)), ("report.html", to_html(report))):
        with atomic_write(folder / file) as stream:
            stream.write(text.encode())
    return folder / "report.html"


def report_workspace(root: Path, name: str | None) -> None:
    """The command `capillary report`: under `name`, else that of the DVC experiment that lies here, else workspace."""
    page = write_report(root, name or current_experiment(root) or WORKSPACE, RunFacts())
    say(f"report: {page}")
    say(f"        {page.with_suffix('.md')}")


def report_partial(root: Path) -> None:
    """Of the results in metrics/partial/, under a name of their own."""
    say(f"report: {write_report(root, PARTIAL, RunFacts(), METRICS_FOLDER / PARTIAL)}")


def _folder(root: Path, name: str) -> Path:
    if not name.strip() or name.startswith(".") or "/" in name or not name.isprintable():
        raise CapillaryError(
            "a report's name is the name of its folder",
            value=name,
            remedy="choose a name without a slash and without a dot at its start",
            code=ExitCode.USAGE,
        )
    return root / "reports" / name
