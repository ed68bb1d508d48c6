"""The table of registered trainings: as a registry has them, and how this one compares with the champion."""

import contextlib
import dataclasses
import datetime
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from mlflow.entities.model_registry import ModelVersion, ModelVersionTag
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST
from mlflow.store.entities import PagedList

from stages.common.runtime import Runtime
from stages.common.tracking.server import Server
from stages.report.pages.html import to_html
from stages.report.pages.markdown import to_markdown
from stages.report.registered import NOTHING, Registered
from stages.report.sources import registered
from stages.report.sources.registered import own_trainings, read_trainings
from tests.unit.stages.report.made import made_report, trained_cell

ZONE = datetime.timezone(datetime.timedelta(hours=2))
NAME = "capillary-default"
CARDS = [trained_cell("a", fold, fingerprint=f"f{fold}") for fold in (0, 1)]
(OWN,) = own_trainings(CARDS)


def tags(**more: str) -> dict[str, str]:
    """Of a training's version."""
    usual = {"kind": "training", "metric": "dsc", "dsc": "0.812 [0.700, 0.900]", "loss": "a", "cells": "2"}
    return {f"capillary.{name}": text for name, text in {**usual, **more}.items()}


def entry(version: int, former: str | None, why: str, moment: int = 1) -> dict[str, str]:
    """What evaluate notes when a training stands for champion."""
    told = {"from": former, "kind": "evaluated", "who": "evaluate", "when": "", "to": str(version), "why": why}
    return {f"capillary.promotion.{moment:020d}-abcd": json.dumps(told)}


class Registry:
    """A registry with the versions of one model by number (their tags), and its aliases."""

    def __init__(self, versions: Mapping[int, Mapping[str, str]], aliases: Mapping[str, str]) -> None:
        self._versions, self._aliases = versions, aliases

    def search_model_versions(self, wanted: str, page_token: str | None = None) -> PagedList[ModelVersion]:
        assert page_token is None
        known = self._versions if wanted == f"name = '{NAME}'" else {}
        found = [
            ModelVersion(
                NAME, str(number), creation_timestamp=10**12, tags=[ModelVersionTag(*tag) for tag in of.items()]
            )
            for number, of in known.items()
        ]
        return PagedList(found, None)

    def get_registered_model(self, name: str) -> Any:
        if name != NAME:
            raise MlflowException("no such model", RESOURCE_DOES_NOT_EXIST)
        return SimpleNamespace(name=name, aliases=self._aliases)


def read(monkeypatch: pytest.MonkeyPatch, versions: Mapping[int, Mapping[str, str]], **aliases: str) -> Registered:
    @contextlib.contextmanager
    def asking(_runtime: Runtime) -> Iterator[Server]:
        yield Server(client=Registry(versions, aliases), uri="http://h:1")

    monkeypatch.setattr(registered, "asking", asking)
    return read_trainings(CARDS, [NAME, "capillary-other"], Runtime(tracking_uri="http://h:1"), ZONE)


def test_trainings_are_shown_with_their_state_and_no_network_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Newest first; the champion, however old; what a tag does not say is left empty."""
    versions: dict[int, Mapping[str, str]] = {number: tags() for number in range(2, 40)}
    versions[1] = {"capillary.weights_sha256": "0"}
    versions[39] = tags(training=OWN, volumes="6", held_out="0.7", commit="c0ffee", metric="own")
    versions[38] = tags(rehearsal="true")
    found = read(monkeypatch, versions, champion="2", candidate="37", previous="37")
    assert [one.version for one in found.trainings] == [*range(39, 19, -1), 2]
    assert found.left_out == 17
    first, second, third, *_, last = found.trainings
    assert [one.state for one in (first, second, third, last)] == ["", "rehearsal", "candidate, previous", "champion"]
    assert (first.is_this, first.volumes, first.held_out, first.commit) == (True, "6", "0.7", "c0ffee")
    assert (first.metric, first.value) == ("own", "")
    assert (second.is_this, second.metric, second.value) == (False, "DSC", "0.812 [0.700, 0.900]")
    assert last.made == datetime.datetime(2001, 9, 9, 3, 46, 40, tzinfo=ZONE)


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
    found = read(monkeypatch, {1: tags(), 2: own, 3: tags()}, champion=champion)
    (this,) = (one for one in found.trainings if one.is_this)
    assert words in this.against_champion


def test_without_a_server_or_a_training_the_table_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """And the report is written."""
    assert "No training is registered yet" in str(read(monkeypatch, {}).missing)
    monkeypatch.undo()
    runtime = Runtime(tracking_uri=f"sqlite:///{tmp_path / 'none.db'}")
    missing = read_trainings(CARDS, [NAME], runtime, None).missing
    assert missing is not None
    assert "the file does not exist" in missing
    report = made_report(registered=dataclasses.replace(NOTHING, missing=missing))
    for text in (to_html(report), to_markdown(report)):
        assert "the file does not exist" in text


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
