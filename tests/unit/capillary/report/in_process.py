"""The stage `report` in the process of a test: starting MLflow in another one takes seconds."""

from pathlib import Path
from typing import Any

import pytest

from capillary.report import write
from stages.common.requests.report import DAMAGES, Damage, ReportRequest, read_damages
from stages.common.runtime import Runtime
from stages.report.collect import collect
from stages.report.write import write_report


def run_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a report be made without an executor, next to the results, with the embedded store of the project."""

    def run(request: ReportRequest, root: Path, _settings: Any, _stop: Any, folder: Path) -> tuple[Damage, ...]:
        runtime = Runtime(tracking_uri=f"sqlite:///{root / 'mlruns' / 'mlflow.db'}", receipts=root / "receipts")
        folder.parent.mkdir(parents=True, exist_ok=True)
        write_report(collect(request, runtime, root), folder)
        found = read_damages((folder / DAMAGES).read_bytes())
        (folder / DAMAGES).unlink()
        return found

    monkeypatch.setattr(write, "run_report", run)
