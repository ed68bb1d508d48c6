"""A report gathered from a workspace: what is read, and which sentence stands for what is missing."""

import dataclasses
import json
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml

from capillary.report import write
from capillary.report.facts import RunFacts
from capillary.report.model import ReportPart, TrackedRun
from capillary.report.sources import collect as collecting
from capillary.report.sources import machine
from capillary.report.sources.collect import collect
from capillary.report.sources.machine import machine_rows, version_rows
from capillary.report.sources.tracking import Tracked
from capillary.report.write import report_workspace
from stages.common.cell_name import every_cell
from stages.common.errors import DamagedError, ExitCode, ParamsError
from stages.common.machine.limits import Limits
from stages.common.metrics import METRICS
from tests.unit.capillary.report.made import made_report

PARAMS = {
    "training": {"losses": ["b", "a"], "folds": [0, 2]},
    "evaluation": {"confidence": 0.9, "nsd_tolerance_um": 1.5},
}
RUN = made_report().runs[0]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace of which DVC says that evaluate is stale, with no results yet."""
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(PARAMS))
    monkeypatch.setattr(collecting, "changed_stages", lambda _root: ("evaluate",))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path


def write_metrics(root: Path, *losses: str) -> None:
    interval = {"mean": 0.5, "ci_low": 0.4, "ci_high": 0.6}
    (root / "metrics").mkdir()
    (root / "metrics" / "metrics.json").write_text(json.dumps({loss: {"dsc": interval} for loss in losses}))


def write_card(root: Path) -> None:
    card: dict[str, Any] = {"loss": "a", "fold": 0, "fingerprint": "f"}
    (root / "models" / "a").mkdir(parents=True)
    (root / "models" / "a" / "fold_0.json").write_text(json.dumps({**card, "epochs": 2, "precision": "fp32"}))


def track(monkeypatch: pytest.MonkeyPatch, *runs: TrackedRun, missing: str | None = None) -> None:
    tracked = Tracked(place="sqlite:///x", runs=runs, missing=missing)
    monkeypatch.setattr(collecting, "read_runs", lambda *_: tracked)


def test_params_say_what_there_should_be(root: Path) -> None:
    """Every loss on every fold, and what the intervals are; each key is listed."""
    report = collect(root, "x", RunFacts(description="d"))
    assert report.cells == every_cell(("b", "a"), (0, 2), ())
    assert (report.confidence, report.nsd_tolerance_um) == (0.9, 1.5)
    assert (report.name, report.facts.description, report.stale) == ("x", "d", ("evaluate",))
    assert [param.key for param in report.params] == [
        "evaluation.confidence",
        "evaluation.nsd_tolerance_um",
        "training.folds",
        "training.losses",
    ]
    assert report.written.tzinfo is not None


@pytest.mark.parametrize("params", [{"other": 1}, {"training": None, "evaluation": 3}])
def test_sections_that_params_lack_are_empty(root: Path, params: dict[str, object]) -> None:
    """A report of whatever is there."""
    (root / "params.yaml").write_text(yaml.safe_dump(params))
    report = collect(root, "x", RunFacts())
    assert (report.cells, report.confidence, report.nsd_tolerance_um) == ((), None, None)


def test_without_params_there_is_no_report(tmp_path: Path) -> None:
    """A command in the wrong folder."""
    with pytest.raises(ParamsError):
        collect(tmp_path, "x", RunFacts())


def test_each_missing_part_has_its_sentence(root: Path) -> None:
    """What was tried, and what to do to have it."""
    notes = collect(root, "x", RunFacts()).notes
    parts = (
        ReportPart.METRICS,
        ReportPart.PAIRED,
        ReportPart.VOLUMES,
        ReportPart.CALIBRATION,
        ReportPart.OVERLAYS,
        ReportPart.GIT,
    )
    assert all(notes[part].startswith("Left out, because ") for part in parts)
    assert "metrics/paired.csv is not there. Remedy: run `dvc repro`" in notes[ReportPart.PAIRED]
    assert "Git does not answer (fatal: not a git repository" in notes[ReportPart.GIT]
    assert notes[ReportPart.CURVES] == "metrics/training/ holds no learning curve."
    assert notes[ReportPart.RUNS] == "No network is registered: models/ holds no card."
    assert "none was found" in notes[ReportPart.RESOURCES]
    assert ReportPart.LOCK not in notes


def test_one_loss_has_nothing_to_be_compared_with(root: Path) -> None:
    """Its missing comparison is not a failure, once the file is there."""
    write_metrics(root, "a")
    (root / "metrics" / "paired.csv").write_text("loss,other\n")
    notes = collect(root, "x", RunFacts()).notes
    assert notes[ReportPart.PAIRED] == "One loss was evaluated: there is nothing to compare it with."
    assert ReportPart.METRICS not in notes


def test_two_losses_are_compared(root: Path) -> None:
    """Without a note where the file holds the comparison."""
    write_metrics(root, "a", "b")
    (root / "metrics" / "paired.csv").write_text("loss,other\n")
    assert ReportPart.PAIRED not in collect(root, "x", RunFacts()).notes


def test_runs_that_were_not_found_are_told_in_the_store_s_words(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are shown."""
    write_card(root)
    track(monkeypatch, RUN, missing="MLflow does not know one of them.")
    report = collect(root, "x", RunFacts())
    assert report.notes[ReportPart.RUNS] == "MLflow does not know one of them."
    assert (report.runs, report.tracking_place) == ((RUN,), "sqlite:///x")
    assert ReportPart.RESOURCES not in report.notes


def test_runs_without_samples_say_so(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They were short, or nobody looked."""
    write_card(root)
    track(monkeypatch, dataclasses.replace(RUN, samples={}))
    notes = collect(root, "x", RunFacts()).notes
    assert "they were shorter than the time between samples" in notes[ReportPart.RESOURCES]
    assert ReportPart.RUNS not in notes


def test_the_environment_is_the_runner_s_then_the_machine_s_then_the_versions(root: Path) -> None:
    """In this order, with the user's command to repeat it."""
    report = collect(root, "x", RunFacts(environment={"place": "ci"}, command="./just experiment"))
    names = [name for name, _ in report.environment]
    assert names[:2] == ["place", "system"]
    assert names[-1] == "DVC"
    assert report.repeat == ("./just experiment",)


def test_the_machine_is_told_in_cores_and_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """What this process may use, as a container on a larger machine has it, and the CPU where its model is known."""
    limits = Limits(cores=3, cores_reason="", memory_bytes=3 * 2**30, memory_reason="")
    monkeypatch.setattr(machine, "find_limits", lambda: limits)
    monkeypatch.setattr(machine, "cpu_model", lambda: "a processor")
    rows = dict(machine_rows())
    assert (rows["cores"], rows["CPU"]) == ("3", "a processor")
    assert rows["memory"] == "3.0 GiB"
    monkeypatch.setattr(machine, "cpu_model", lambda: "")
    assert list(dict(machine_rows())) == ["system", "cores", "memory", "Python"]


def test_versions_are_the_checkout_s_dvc_s_and_the_pins(tmp_path: Path) -> None:
    """Those of the packages that decide a result, in a fixed order; without files only DVC's."""
    assert dict(version_rows(tmp_path)) == {"DVC": metadata.version("dvc")}
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "1.2.3"\n')
    for stage, text in (("train", "torch == 2.1 \nother==9\n# torch\n"), ("evaluate", "scipy==1.2\nnumpy==3\n")):
        (tmp_path / "stages" / stage).mkdir(parents=True)
        (tmp_path / "stages" / stage / "requirements.txt").write_text(text)
    assert list(version_rows(tmp_path)) == [
        ("capillary", "1.2.3"),
        ("DVC", metadata.version("dvc")),
        ("torch (pinned)", "2.1"),
        ("numpy (pinned)", "3"),
        ("scipy (pinned)", "1.2"),
    ]


@pytest.mark.parametrize(
    ("name", "experiment", "folder"), [("mine", "exp", "mine"), (None, "exp", "exp"), (None, None, "workspace")]
)
def test_the_command_names_the_report_after_what_it_knows(
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str | None,
    experiment: str | None,
    folder: str,
) -> None:
    """The user's name, else the experiment's, else the workspace; both files are said."""
    monkeypatch.setattr(write, "current_experiment", lambda _root: experiment)
    report_workspace(root, name)
    said = capsys.readouterr().out.split()
    assert said == ["report:", *(str(root / "reports" / folder / f"report.{suffix}") for suffix in ("html", "md"))]
    assert f"# {folder}\n" in (root / "reports" / folder / "report.md").read_text()


def test_what_is_damaged_fails_the_command_after_the_report_is_written(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing file is a gap, one that is there and cannot be read is an error: each is named, none is touched."""
    damaged = {
        "metrics/metrics.json": '{"a": {"dsc": ',
        "metrics/paired.csv": "loss,other\na,b\n",
        "metrics/overlays.json": "[]]",
        "models/a/fold_0.json": '{"loss": "a"}',
        "metrics/training/a/fold_0.csv": "epoch,loss,validation_dsc\none,1,\n",
        "mlruns/mlflow.db": "not a database",
    }
    for name, text in damaged.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    monkeypatch.setattr(write, "current_experiment", lambda _root: None)
    with pytest.raises(DamagedError) as refused:
        report_workspace(root, "mine")
    assert refused.value.code == ExitCode.DATA
    told = refused.value.report()
    for name, text in damaged.items():
        assert str(root / name) in told
        assert (root / name).read_text() == text
    assert "dvc checkout --force metrics/metrics.json" in told
    page = (root / "reports/mine/report.md").read_text()
    assert "metrics.json cannot be read" in page.replace("\\", "")


def test_metrics_of_a_report_are_those_of_params() -> None:
    """The order of the first loss; without results DSC leads."""
    report = made_report()
    assert [metric.name for metric in report.shown] == list(METRICS)
    empty = made_report(metrics={}, volumes=())
    assert (empty.shown, empty.lead.name, empty.best) == ((), "dsc", None)
    assert [metric.name for metric in made_report(metrics={}).shown] == list(METRICS)
