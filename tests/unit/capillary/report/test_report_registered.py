"""The table of registered trainings: as two kinds of stores have them, and how this one compares with the champion."""

import contextlib
import dataclasses
import json
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from capillary.report.model import Card
from capillary.report.pages.html import to_html
from capillary.report.pages.markdown import to_markdown
from capillary.report.registered import NOTHING, Registered
from capillary.report.sources import registered
from capillary.report.sources.mlflow_rest import RestStore
from capillary.report.sources.mlflow_sqlite import SqliteStore
from capillary.report.sources.registered import own_trainings, read_trainings
from capillary.report.sources.stored import StoredVersion
from capillary.settings import read_settings
from stages.common.errors import ServiceError
from tests.unit.capillary.report.made import made_report

NAME = "capillary-default"
CARDS = [
    Card(loss="a", fold=fold, fingerprint=f"f{fold}", model_name="m", epochs=1, precision="fp32") for fold in (0, 1)
]
(OWN,) = own_trainings(CARDS)


def tags(**more: str) -> dict[str, str]:
    """Of a training's version."""
    usual = {"kind": "training", "metric": "dsc", "dsc": "0.812 [0.700, 0.900]", "loss": "a", "cells": "2"}
    return {f"capillary.{name}": text for name, text in {**usual, **more}.items()}


def entry(version: int, former: str | None, why: str, moment: int = 1) -> dict[str, str]:
    """What evaluate notes when a training stands for champion."""
    told = {"from": former, "kind": "evaluated", "who": "evaluate", "when": "", "to": str(version), "why": why}
    return {f"capillary.promotion.{moment:020d}-abcd": json.dumps(told)}


class Store:
    """Versions by number (their tags), and aliases."""

    def __init__(self, versions: Mapping[int, Mapping[str, str]], aliases: Mapping[str, str]) -> None:
        self._versions, self._aliases = versions, aliases

    def versions(self, name: str) -> Sequence[StoredVersion]:
        known = self._versions if name == NAME else {}
        return [StoredVersion(name=name, version=number, tags=told, made_ms=10**12) for number, told in known.items()]

    def aliases(self, _name: str) -> Mapping[str, str]:
        return self._aliases


def read(
    monkeypatch: pytest.MonkeyPatch, root: Path, versions: Mapping[int, Mapping[str, str]], **aliases: str
) -> Registered:
    monkeypatch.setattr(registered, "open_store", lambda *_: Store(versions, aliases))
    return read_trainings(CARDS, read_settings(root, {}), root)


def test_trainings_are_shown_with_their_state_and_no_network_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Newest first; the champion, however old; what a tag does not say is left empty."""
    versions: dict[int, Mapping[str, str]] = {number: tags() for number in range(2, 40)}
    versions[1] = {"capillary.weights_sha256": "0"}
    versions[39] = tags(training=OWN, volumes="6", held_out="0.7", commit="c0ffee", metric="own")
    versions[38] = tags(rehearsal="true")
    found = read(monkeypatch, tmp_path, versions, champion="2", candidate="37", previous="37")
    assert [one.version for one in found.trainings] == [*range(39, 19, -1), 2]
    assert found.left_out == 17
    first, second, third, *_, last = found.trainings
    assert [one.state for one in (first, second, third, last)] == ["", "rehearsal", "candidate, previous", "champion"]
    assert (first.is_this, first.volumes, first.held_out, first.commit) == (True, "6", "0.7", "c0ffee")
    assert (first.metric, first.value) == ("own", "")
    assert (second.is_this, second.metric, second.value) == (False, "DSC", "0.812 [0.700, 0.900]")
    assert last.made is not None


@pytest.mark.parametrize(
    ("told", "champion", "words"),
    [
        ({"rehearsal": "true"}, "1", "It is a rehearsal, which is compared with no champion."),
        ({}, "1", "Another loss of its evaluation was better, so it was not compared with the champion."),
        (entry(2, None, "the first"), "2", "It is the champion. When it was evaluated, there was none: the first."),
        (entry(2, "1", "not better"), "1", "The champion is version 1. When it was evaluated, against it, version 1"),
        (entry(2, "3", "x"), "1", "When it was evaluated, against the champion of that time, version 3: x."),
        ({**entry(2, "1", "old"), **entry(2, "1", "new", 2)}, "1", "version 1: new."),
        ({"capillary.promotion.x": "[" * 99_999}, "1", "Another loss of its evaluation was better"),
    ],
)
def test_this_training_is_compared_with_the_champion(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, told: dict[str, str], champion: str, words: str
) -> None:
    """By what evaluate noted: nothing is computed anew."""
    more = {name: text for name, text in told.items() if not name.startswith("capillary.")}
    own = {**tags(training=OWN, **more), **{name: text for name, text in told.items() if name not in more}}
    found = read(monkeypatch, tmp_path, {1: tags(), 2: own, 3: tags()}, champion=champion)
    (this,) = (one for one in found.trainings if one.is_this)
    assert words in this.against_champion


def test_without_a_server_or_a_training_the_table_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """And the report is written."""
    assert "No training is registered yet" in str(read(monkeypatch, tmp_path, {}).missing)
    settings = read_settings(tmp_path, {"MLFLOW_TRACKING_URI": "sqlite:///none.db"})
    monkeypatch.undo()
    missing = read_trainings(CARDS, settings, tmp_path).missing
    assert missing is not None
    assert "there is no such file" in missing
    report = made_report(registered=dataclasses.replace(NOTHING, missing=missing))
    for text in (to_html(report), to_markdown(report)):
        assert "there is no such file" in text


def test_the_table_is_on_the_page_and_in_markdown() -> None:
    """Every field of every training, and a column for held-out volumes where there are any."""
    report = made_report()
    page, text = to_html(report), to_markdown(report)
    for shown in (page, text):
        for words in ("capillary-default/12", "champion", "previous", "0123456789ab", "2026-01-09", "held out"):
            assert words in shown
        assert "3 older ones are not shown" in shown
        assert "capillary-default/12</strong> was trained here" in page
    plain = tuple(dataclasses.replace(one, held_out="") for one in report.registered.trainings)
    without = made_report(registered=Registered(trainings=plain))
    assert "held out, ensemble" not in to_html(without) + to_markdown(without)


def test_the_embedded_store_is_read(tmp_path: Path) -> None:
    """Deleted versions do not count."""
    with contextlib.closing(sqlite3.connect(tmp_path / "mlflow.db")) as database, database:
        database.executescript("""
CREATE TABLE model_versions (name, version INTEGER, creation_time INTEGER, current_stage);
CREATE TABLE model_version_tags (name, version INTEGER, key, value);
CREATE TABLE registered_model_aliases (name, alias, version INTEGER);
INSERT INTO model_versions VALUES ('m', 1, 5, 'None'), ('m', 2, 6, 'Deleted_Internal'), ('other', 3, 7, 'None');
INSERT INTO model_version_tags VALUES ('m', 1, 'k', 'v'), ('m', 2, 'k', 'v'), ('other', 3, 'k', 'v');
INSERT INTO registered_model_aliases VALUES ('m', 'champion', 1), ('other', 'champion', 3);
""")
    store = SqliteStore(tmp_path / "mlflow.db")
    assert store.versions("m") == [StoredVersion(name="m", version=1, tags={"k": "v"}, made_ms=5)]
    assert store.aliases("m") == {"champion": "1"}


class Rest(RestStore):
    """A server that answers each question by the next of `answers`."""

    def __init__(self, *answers: Any) -> None:
        super().__init__("http://h:1", {})
        self.answers, self.asked = list(answers), []  # type: ignore[var-annotated]

    def _ask(self, _method: str, endpoint: str, question: dict[str, Any]) -> Any:
        self.asked.append((endpoint, question))
        return self.answers.pop(0)


def test_a_server_is_read_page_by_page() -> None:
    """Numbers come as text, aliases from the model. One without a registry is named, one without aliases is not."""
    tag = {"key": "k", "value": "v"}
    first = {"model_versions": [{"name": "m", "version": "2", "tags": [tag]}], "next_page_token": "next"}
    second = {"model_versions": [{"name": "m", "version": 1, "creation_timestamp": "5"}, {"name": "x", "version": "9"}]}
    store = Rest(first, second)
    assert store.versions("m") == [
        StoredVersion(name="m", version=2, tags={"k": "v"}, made_ms=None),
        StoredVersion(name="m", version=1, tags={}, made_ms=5),
    ]
    assert [question.get("page_token") for _, question in store.asked] == [None, "next"]
    aliases = {"registered_model": {"aliases": [{"alias": "champion", "version": "2"}]}}
    assert Rest(aliases).aliases("m") == {"champion": "2"}
    assert Rest(None).aliases("m") == Rest({}).aliases("m") == {}
    with pytest.raises(ServiceError, match="has no model registry"):
        Rest(None).versions("m")
    with pytest.raises(ServiceError, match="not MLflow's"):
        Rest({"model_versions": [{"name": "m", "version": "x"}]}).versions("m")
