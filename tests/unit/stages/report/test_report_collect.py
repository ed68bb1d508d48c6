"""A report gathered from a workspace: what is read, and which sentence stands for what is missing."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from stages.common.cell_name import every_cell
from stages.common.errors import ServiceError
from stages.common.metrics import METRICS
from stages.common.requests.report import ReportPart
from stages.common.runtime import Runtime
from stages.common.tracking.cards.card import card_json
from stages.report import collect as collecting
from stages.report.collect import collect
from stages.report.model import Report, TrackedRun
from stages.report.registered import Registered
from stages.report.sources.tracking import Tracked
from tests.support.tracking.cards import CARD
from tests.unit.stages.report.made import made_report

RUN = made_report().runs[0]
ASKED = dataclasses.replace(made_report().asked, cells=every_cell(("b", "a"), (0, 2), ()))


def collected(root: Path, **changes: Any) -> Report:
    """What is in `root`, with an embedded store that is not there."""
    runtime = Runtime(tracking_uri=f"sqlite:///{root / 'mlruns' / 'mlflow.db'}", receipts=root / "receipts")
    return collect(dataclasses.replace(ASKED, **changes), runtime, root)


def write_metrics(root: Path, *losses: str) -> None:
    interval = {"mean": 0.5, "ci_low": 0.4, "ci_high": 0.6}
    (root / "metrics").mkdir()
    (root / "metrics" / "metrics.json").write_text(json.dumps({loss: {"dsc": interval} for loss in losses}))


def write_card(root: Path) -> None:
    (root / "models" / "a").mkdir(parents=True)
    (root / "models" / "a" / "fold_0.json").write_text(card_json(dataclasses.replace(CARD, loss="a")))


def track(monkeypatch: pytest.MonkeyPatch, *runs: TrackedRun, missing: str | None = None) -> None:
    monkeypatch.setattr(collecting, "read_runs", lambda *_: Tracked(runs=runs, missing=missing))
    monkeypatch.setattr(collecting, "read_trainings", lambda *_: Registered())


def test_each_missing_part_has_its_sentence(tmp_path: Path) -> None:
    """What was tried, and what to do to have it."""
    notes = collected(tmp_path).notes
    parts = (
        ReportPart.METRICS,
        ReportPart.PAIRED,
        ReportPart.VOLUMES,
        ReportPart.CALIBRATION,
        ReportPart.OVERLAYS,
    )
    assert all(notes[part].startswith("Left out, because ") for part in parts)
    assert "metrics/paired.csv is not there. Remedy: run `dvc repro`" in notes[ReportPart.PAIRED]
    assert notes[ReportPart.CURVES] == "metrics/training/ holds no learning curve."
    assert notes[ReportPart.RUNS] == "No network is registered: models/ holds no card."
    assert "none was found" in notes[ReportPart.RESOURCES]


def test_one_loss_has_nothing_to_be_compared_with(tmp_path: Path) -> None:
    """Its missing comparison is not a failure, once the file is there."""
    write_metrics(tmp_path, "a")
    (tmp_path / "metrics" / "paired.csv").write_text("loss,other\n")
    notes = collected(tmp_path).notes
    assert notes[ReportPart.PAIRED] == "One loss was evaluated: there is nothing to compare it with."
    assert ReportPart.METRICS not in notes


def test_two_losses_are_compared(tmp_path: Path) -> None:
    """Without a note where the file holds the comparison."""
    write_metrics(tmp_path, "a", "b")
    (tmp_path / "metrics" / "paired.csv").write_text("loss,other\n")
    assert ReportPart.PAIRED not in collected(tmp_path).notes


def test_runs_that_were_not_found_are_told_in_the_store_s_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others are shown."""
    write_card(tmp_path)
    track(monkeypatch, RUN, missing="MLflow does not know one of them.")
    report = collected(tmp_path)
    assert report.notes[ReportPart.RUNS] == "MLflow does not know one of them."
    assert report.runs == (RUN,)
    assert ReportPart.RESOURCES not in report.notes


def test_runs_without_samples_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They were short, or nobody looked."""
    write_card(tmp_path)
    track(monkeypatch, dataclasses.replace(RUN, samples={}))
    notes = collected(tmp_path).notes
    assert "they were shorter than the time between samples" in notes[ReportPart.RESOURCES]
    assert ReportPart.RUNS not in notes


def test_the_host_s_notes_are_kept(tmp_path: Path) -> None:
    """Next to those of the stage."""
    notes = collected(tmp_path, notes={ReportPart.GIT: "Left out, because Git is away."}).notes
    assert notes[ReportPart.GIT] == "Left out, because Git is away."
    assert ReportPart.METRICS in notes


def test_a_store_that_does_not_answer_is_asked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each question may take as long as the first."""
    write_card(tmp_path)
    dead = Tracked(missing="Left out, because it is dead.", failure=ServiceError("it is dead", remedy="wake it"))
    monkeypatch.setattr(collecting, "read_runs", lambda *_: dead)
    monkeypatch.setattr(collecting, "read_trainings", lambda *_: pytest.fail("asked again"))
    report = collected(tmp_path)
    assert report.notes[ReportPart.RUNS] == "Left out, because it is dead."
    assert report.registered.missing == "Left out, because it is dead. Remedy: wake it."


def test_nobody_is_asked_at_an_address_that_the_host_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its sentence stands for the runs and for the registered trainings."""
    monkeypatch.setattr(collecting, "read_runs", lambda *_: pytest.fail("asked"))
    report = collected(tmp_path, untracked="The address is wrong.")
    assert (report.notes[ReportPart.RUNS], report.registered.missing) == ("The address is wrong.",) * 2


def test_metrics_of_a_report_are_those_of_params() -> None:
    """The order of the first loss; without results DSC leads."""
    report = made_report()
    assert [metric.name for metric in report.shown] == list(METRICS)
    empty = made_report(metrics={}, volumes=())
    assert (empty.shown, empty.lead.name, empty.best) == ((), "dsc", None)
    assert [metric.name for metric in made_report(metrics={}).shown] == list(METRICS)
