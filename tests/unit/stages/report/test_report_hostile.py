"""Hidden characters in what a report shows: visible on the page, in its charts and in Markdown."""

import dataclasses
import html
from typing import Any

import pytest

from stages.common.requests.report import CellFact, Param, ReportPart, RunFacts
from stages.common.text import visible
from stages.common.tracking.receipts import Receipt
from stages.report.model import Report
from stages.report.pages.html import to_html
from stages.report.pages.markdown import to_markdown
from stages.report.registered import RegisteredTraining
from tests.support.attacks import HIDDEN, shows_all
from tests.unit.stages.report.made import made_report

ALL = " ".join(text.replace("\n", " ") for text in HIDDEN.values())


def _hostile() -> Report:
    """`ALL` wherever a name, a text or a server's answer stands."""
    plain = made_report()
    return made_report(
        name=ALL,
        facts=RunFacts(
            description=ALL,
            command=ALL,
            environment={ALL: ALL},
            cells=(CellFact(loss="dice_ce", fold=0, status=ALL, reason=ALL),),
        ),
        volumes=tuple(dataclasses.replace(one, id=ALL, group=ALL, rule=ALL) for one in plain.volumes),
        overlays=tuple(dataclasses.replace(one, id=ALL) for one in plain.overlays),
        trained=tuple(
            dataclasses.replace(
                one,
                card=dataclasses.replace(one.card, loss=ALL, precision=ALL),
                receipt=Receipt(run_id=ALL, name=ALL, version=ALL, weights_sha256=""),
            )
            for one in plain.trained
        ),
        runs=tuple(dataclasses.replace(one, status=ALL, run_id=ALL) for one in plain.runs),
        tracking_place=ALL,
        environment=((ALL, ALL),),
        params=(Param(key=ALL, value=ALL, changed=True),),
        repeat=(ALL,),
        notes={ReportPart.CURVES: ALL},
        registered=dataclasses.replace(
            plain.registered, missing=ALL, trainings=tuple(_hidden(one) for one in plain.registered.trainings)
        ),
    )


def _hidden(one: RegisteredTraining) -> RegisteredTraining:
    words = ("model", "state", "loss", "networks", "metric", "value", "volumes", "held_out", "commit")
    changes: dict[str, Any] = dict.fromkeys((*words, "against_champion"), ALL)
    return dataclasses.replace(one, **changes)


@pytest.mark.parametrize("write", [to_html, to_markdown])
def test_a_report_shows_what_names_and_texts_hide(write: object) -> None:
    """No hidden character is left anywhere in the file, and the escapes are there to be read."""
    assert callable(write)
    text = write(_hostile())
    assert shows_all(text)
    assert visible("\u202e") in html.unescape(text)


def test_the_page_of_an_ordinary_report_is_what_it_was() -> None:
    """Charts and styles are markup of the house's own: their line breaks stay."""
    page = to_html(made_report())
    assert "\\n" not in page
    assert "\\x" not in page
