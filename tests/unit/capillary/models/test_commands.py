"""The commands on registered models: what they ask the registry's stage, and how they show its answer."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from capillary.cli import app
from capillary.executors.process import execute as process
from capillary.models import ask
from capillary.models.known import known_names
from capillary.models.steps import Step, plan_step
from capillary.planning.plan import OUTBOX, RECEIPTS
from capillary.settings import read_settings
from stages.common.text import find_hidden
from tests.support.parts import REPOSITORY

MEAN = {"mean": 0.8, "ci_low": 0.7, "ci_high": 0.9}
PAIRED = {"difference": 0.02, "ci_low": 0.01, "ci_high": 0.03, "volumes": 6, "groups": 6, "left_out": 0, "p": 0.03}
ENTRY = {
    "when": "2026-07-29T10:00:00Z",
    "kind": "promoted",
    "who": "ann",
    "from": "3",
    "to": "4",
    "why": "thin [vessels]",
    "metric": "dsc",
    "values": PAIRED,
}
LINE = {
    "version": "4",
    "aliases": ["champion"],
    "training": "0123456789abcdef",
    "loss": "dice_ce",
    "cells": "3",
    "metric": "dsc",
    "value": "0.800 [0.700, 0.900]",
    "rehearsal": False,
}
MODEL = {"name": "capillary-default", "kind": "trainings", "versions": 4, "aliases": {}, "trainings": [LINE]}
ANSWERS: dict[str, dict[str, Any]] = {
    "list": {"models": [MODEL, {**MODEL, "name": "capillary-warp", "kind": "networks", "trainings": []}]},
    "show": {**MODEL, "history": [ENTRY]},
    "promote": {"name": "capillary-default", "aliases": {"champion": "4"}, "entry": ENTRY},
    "rollback": {"name": "capillary-default", "aliases": {"champion": "5"}, "entry": ENTRY},
    "compare": {
        "trainings": [
            {"name": "capillary-default", "version": version, "training": "a", "loss": "warp", "cells": 3, "volumes": 6}
            for version in ("3", "4")
        ],
        "params": [{"name": "training.max_epochs", "one": "10", "other": None}],
        "metrics": [{"metric": "dsc", "one": MEAN, "other": None, "paired": {**PAIRED, "why_not": None}}],
    },
}
COMMANDS = [
    (["models"], "list", ["capillary-default", "0.800 [0.700, 0.900]", "capillary-warp"]),
    (["show", "capillary-default"], "show", ["thin [vessels]", "champion"]),
    (
        ["promote", "capillary-default/4", "--reason", "thin"],
        "promote",
        ["version 4 (was 3)", "+0.0200 [+0.0100, +0.03"],
    ),
    (["rollback", "capillary-default", "--reason", "-x"], "rollback", ["was overtaken in the meantime"]),
    (["compare", "a@b", "c/1"], "compare", ["training.max_epochs", "+0.0200"]),
]


@pytest.mark.parametrize("name", ["capillary-default/1", "capillary-default@champion"])
def test_a_rollback_takes_a_model_and_no_version(name: str) -> None:
    """A version that is there was said not to be."""
    result = CliRunner().invoke(app, ["rollback", name, "--reason", "x"])
    assert result.exit_code == 2
    assert "capillary promote" in result.output


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[str]]:
    """What was asked; the answers are made up."""
    questions: list[Sequence[str]] = []

    def answer(argv: Sequence[str], _root: Path, _stop: object) -> tuple[int, dict[str, Any]]:
        questions.append(argv)
        return 0, ANSWERS[argv[0]]

    monkeypatch.setattr(ask, "ask_registry", answer)
    return questions


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_what_others_wrote_on_a_server_steers_no_terminal(
    asked: list[Sequence[str]],
    options: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A control character of one byte, and a mark that turns the line around; a program still gets them."""
    hostile = {**MODEL, "history": [{**ENTRY, "why": "fine \x9b2J \u202e"}]}
    monkeypatch.setitem(ANSWERS, "show", hostile)
    app(["show", "capillary-default", *options], standalone_mode=False)
    text = capsys.readouterr().out
    assert "fine" in text
    assert find_hidden(text.replace("\n", "")) is None
    if options:
        assert json.loads(text) == hostile


@pytest.mark.parametrize(("words", "step", "shown"), COMMANDS)
def test_each_command_shows_its_answer(
    asked: list[Sequence[str]], words: list[str], step: str, shown: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """As tables for people, and as one JSON object for machines."""
    app(words, standalone_mode=False)
    text = capsys.readouterr().out
    assert asked[0][0] == step
    for each in shown:
        assert each in text
    result = CliRunner().invoke(app, [*words, "--json"])
    assert json.loads(result.stdout) == ANSWERS[step]


def test_a_reason_is_required_and_reaches_the_history_with_a_name(asked: list[Sequence[str]]) -> None:
    """No alias moves without one."""
    assert CliRunner().invoke(app, ["promote", "capillary-default/4"]).exit_code == 2
    assert asked == []
    CliRunner().invoke(app, ["promote", "capillary-default/4", "--reason", "--odd words"])
    (argv,) = asked
    assert argv[0] == "promote"
    assert argv[1].startswith("--who=")
    assert argv[1] != "--who="
    assert argv[2:] == ("--reason=--odd words", "--", "capillary-default/4")


def test_a_failed_step_ends_the_command_with_its_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """The step has said why."""
    monkeypatch.setattr(ask, "ask_registry", lambda *_: (7, {}))
    assert CliRunner().invoke(app, ["show", "capillary-default"]).exit_code == 7


def test_names_are_known_without_a_server(tmp_path: Path) -> None:
    """Those of the experiment files, of dvc repro and of the losses; a file without a name has none."""
    (tmp_path / "configs" / "experiments").mkdir(parents=True)
    (tmp_path / "configs" / "experiments" / "a.yaml").write_text("experiment: {name: vesselnn}\n")
    (tmp_path / "configs" / "experiments" / "b.yaml").write_text("experiment: [\n")
    (tmp_path / "params.yaml").write_text("training: {losses: [mine]}\n")
    names = known_names(tmp_path)
    assert names[:3] == ["capillary-default", "capillary-vesselnn", "capillary-mine"]
    assert "capillary-cbdice" in names


def test_the_step_reaches_the_registry_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its deps are its own code; it makes one folder."""
    for name in ("params.yaml", "dvc.yaml", "configs", "stages"):
        (tmp_path / name).symlink_to(REPOSITORY / name)
    monkeypatch.setenv("CAPILLARY_EXECUTOR", "process")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://example.org")
    step = Step(stage="models", argv=("list",), takes=None, makes="answer", root=tmp_path)
    plan = plan_step(step, tmp_path, read_settings(tmp_path), process)
    records = (tmp_path / OUTBOX, tmp_path / RECEIPTS)
    assert (plan.needs_network, plan.outs, plan.writable) == (True, ("answer",), records)
    assert [dep.name for dep in plan.deps] == ["stages/__init__.py", "stages/common", "stages/models"]
