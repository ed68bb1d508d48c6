"""The files of a report, in a folder that the host publishes whole."""

from pathlib import Path

from stages.common.requests.report import DAMAGES, MARKDOWN, OUT, PAGE, Damage, damages_json
from stages.report.model import Report
from stages.report.pages.html import to_html
from stages.report.pages.markdown import to_markdown


def write_report(report: Report, folder: Path = Path(OUT)) -> None:
    """Make `folder`, with both pages, and what the host must tell of files that cannot be read."""
    folder.mkdir()
    (folder / MARKDOWN).write_bytes(to_markdown(report).encode())
    (folder / PAGE).write_bytes(to_html(report).encode())
    (folder / DAMAGES).write_bytes(damages_json(tuple(map(Damage.of, report.damaged))))
