"""What happens before an experiment runs: checks, services, preflight, the plan."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from capillary.dvc.forecast import StageForecast
from capillary.experiments import run
from capillary.experiments.run import Options, run_experiment
from stages.common.errors import CapillaryError, ExitCode, ParamsError
from stages.common.preflight.check import Check, Report, missed, passed
from tests.support.parts import REPOSITORY
from tests.unit.capillary.experiments.workspace import CHANGED, Workspace


@pytest.mark.parametrize("name", ["params.yaml", "my v.yaml"])
def test_a_wrong_value_stops_before_anything_changes(workspace: Workspace, name: str) -> None:
    """In params.yaml or in the experiment file, which the message names."""
    for file in ("dvc.yaml", "params.yaml"):
        shutil.copy(REPOSITORY / file, workspace.root / file)
    wrong = workspace.root / name
    wrong.write_text(
        wrong.read_text().replace("training:", "training:\n  max_epochs: many").replace("  max_epochs: 10", "")
    )
    before = (workspace.root / "params.yaml").read_bytes()
    with pytest.raises(ParamsError, match="max_epochs") as caught:
        run_experiment(workspace.file, workspace.root, Options())
    assert name in caught.value.report()
    assert (workspace.root / "params.yaml").read_bytes() == before


class Steps:
    """What `run_experiment` calls, noted instead of done; preflight finds `check`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, check: Check) -> None:
        self.done: list[str] = []
        self.preflight_flags: dict[str, Any] = {}
        monkeypatch.setattr(run, "start_services", self._services)
        monkeypatch.setattr(run, "run_preflight", self._preflight(check))
        monkeypatch.setattr(
            run, "forecast", lambda _root, params: [*CHANGED, *self._note(f"forecast of {', '.join(params)}")]
        )
        monkeypatch.setattr(run, "_run", lambda _experiment, plan: self._note("run") or len(plan))

    def _note(self, step: str) -> list[StageForecast]:
        self.done.append(step)
        return []

    def _services(self, _root: Path, _settings: object, profile: str) -> None:
        self._note(f"services {profile}")

    def _preflight(self, check: Check) -> Any:
        def look(_root: Path, _settings: object, **flags: Any) -> Report:
            self._note("preflight")
            self.preflight_flags = flags
            return Report((check,))

        return look


GOOD = passed("git", "main at 1234567")
BAD = missed("git", "no commit yet", "a commit", "commit", critical=True)


def test_services_come_before_preflight_and_the_run_last(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Preflight asks the services; a torn list of DVC's is removed before the forecast reads the project."""
    torn = workspace.root / ".dvc" / "tmp" / "rwlock"
    torn.parent.mkdir(parents=True)
    torn.write_text("{")
    steps = Steps(monkeypatch, GOOD)
    assert run_experiment(workspace.file, workspace.root, Options()) == 1
    assert steps.done == ["services dev", "preflight", "forecast of preprocess, training", "run"]
    assert steps.preflight_flags["require_gpu"] is False
    assert steps.preflight_flags["experiment"].keys() == {"preprocess", "training"}, "what the cells will train"
    assert not torn.exists()
    assert "pass git" in capsys.readouterr().out


def test_nothing_is_started_on_a_machine_that_fails_preflight(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its exit code, and the remedies on the screen."""
    steps = Steps(monkeypatch, BAD)
    assert run_experiment(workspace.file, workspace.root, Options()) == ExitCode.PREFLIGHT
    assert "run" not in steps.done
    assert "nothing was started" in capsys.readouterr().out


@pytest.mark.parametrize(("check", "code"), [(GOOD, 0), (BAD, ExitCode.PREFLIGHT)])
def test_a_dry_run_starts_nothing_and_shows_the_plan(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], check: Check, code: int
) -> None:
    """Not even the services; the code says whether it could start."""
    steps = Steps(monkeypatch, check)
    assert run_experiment(workspace.file, workspace.root, Options(dry_run=True)) == code
    assert [step.split()[0] for step in steps.done] == ["preflight", "forecast"]
    assert "1 of 1 stages would run" in capsys.readouterr().out


def test_resume_continues_trainings_whatever_the_file_says(workspace: Workspace) -> None:
    """The flag reaches the settings; without it the file decides."""
    tree = yaml.safe_load(workspace.file.read_text())
    workspace.file.write_text(yaml.safe_dump({**tree, "resume": {"enabled": False}}))
    assert workspace.read().environment["CAPILLARY_RESUME"] == "no"
    assert not workspace.read().settings.resume
    assert workspace.read(resume=True).settings.resume


def test_a_name_that_the_report_cannot_have_is_refused_before_anything_runs(workspace: Workspace) -> None:
    """`partial` is where the report of an unfinished evaluation lies."""
    workspace.file.write_text("experiment: {name: partial}\n")
    with pytest.raises(CapillaryError, match="unfinished evaluation"):
        workspace.read()
