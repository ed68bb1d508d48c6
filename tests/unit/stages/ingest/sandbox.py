"""The ingest stage in a folder as the launcher lays it out, and what every refusal of it looks like."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

import yaml

from stages.ingest.__main__ import main
from tests.support.in_process import run_in_process

SCREEN_LINES = 24


@dataclass(frozen=True)
class Sandbox:
    """A working folder: params.yaml, whatever a test puts there, and a place for data/raw with a file next to it."""

    folder: Path

    def __post_init__(self) -> None:
        (self.folder / "data").mkdir(parents=True)
        (self.folder / "data" / "neighbour.txt").write_text("intact")

    @property
    def raw(self) -> Path:
        """The declared out."""
        return self.folder / "data" / "raw"

    def write_params(self, source: object, **changes: object) -> None:
        """params.yaml with the declared keys; `changes` adds or replaces some."""
        given = {
            "source": source,
            "on_invalid": "fail",
            "label_geometry": "world",
            "label": "binary",
            "ignore_value": None,
        }
        given |= {"channel": None, "level_um": None}
        params = {"ingest": given | changes}
        (self.folder / "params.yaml").write_text(yaml.safe_dump(params))

    def run(self, **environment: str) -> "subprocess.CompletedProcess[str]":
        """The stage, run to its end in the test's own process."""
        return run_in_process(main, self.folder, COLUMNS="80", **environment)

    def succeed(self, source: object, **environment: str) -> str:
        """Run on `source`; the stage's output, after it has ended well."""
        self.write_params(source)
        result = self.run(**environment)
        assert result.returncode == 0, result.stdout + result.stderr
        assert result.stderr == ""
        return result.stdout

    def assert_refused(self, result: "subprocess.CompletedProcess[str]", code: int, *says: str) -> None:
        """One screen with a remedy and `says`, the exit code, no out and an unharmed neighbour."""
        report = result.stderr
        assert result.returncode == code, result.stdout + report
        assert "Traceback" not in report
        assert report.startswith("error: ")
        assert "  remedy: " in report
        assert len(report.splitlines()) <= SCREEN_LINES, report
        for text in says:
            assert text in report, report
        assert not self.raw.exists() or not list(self.raw.iterdir())
        assert (self.folder / "data" / "neighbour.txt").read_text() == "intact"
