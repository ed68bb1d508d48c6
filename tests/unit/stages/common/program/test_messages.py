"""Messages: lines for people, or records as JSON; which of them are printed."""

import json
import logging
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from stages.common.errors import CapillaryError, DataError
from stages.common.program.console import console, print_answer
from stages.common.program.ending import run_main
from stages.common.program.messages import (
    FORMATS,
    LEVELS,
    Format,
    Level,
    get_logger,
    message_of,
    print_messages,
    print_nothing,
    relay,
    with_facts,
)
from tests.support.parts import REPOSITORY

log = get_logger("stages.ingest.example")


@dataclass(frozen=True)
class Facts:
    """What a record can have besides its words."""

    epoch: int
    loss: float | None


def records(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize(
    ("level", "shown"),
    [
        ("debug", ["debug: a", "b", "warning: c", "error: d"]),
        ("info", ["b", "warning: c", "error: d"]),
        ("warning", ["warning: c", "error: d"]),
        ("error", ["error: d"]),
    ],
)
def test_a_level_prints_its_own_messages_and_those_above(
    capsys: pytest.CaptureFixture[str], level: Level, shown: list[str]
) -> None:
    """Answers are no messages: they are printed at each level."""
    print_messages(level, "text")
    log.debug("a")
    log.info("b")
    log.warning("c")
    log.error("error: d")
    print_answer("e")
    assert capsys.readouterr().out.splitlines() == [*shown, "e"]


def test_a_process_that_nobody_told_prints_what_people_expect() -> None:
    """A worker starts afresh, with the loggers alone. A library's own handler does not print a line again."""
    program = "import logging; logging.basicConfig(level=10); from stages.common.program.messages import get_logger; "
    program += "log = get_logger('stages.x'); log.debug('a'); log.info('b'); log.warning('c')"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=60
    )
    assert (done.stdout, done.stderr) == ("b\nwarning: c\n", "")


def test_a_line_for_people_is_plain_and_stays_one(capsys: pytest.CaptureFixture[str]) -> None:
    """Square brackets are no markup, a percent sign is no format, what shows nothing is an escape."""
    text = "volume [bold]a[/bold] 100 %s " + "x" * 300
    log.info(text)
    log.info("\x1b[2J\nb")
    assert capsys.readouterr().out == f"{text}\n\\x1b[2J\\nb\n"


def test_a_record_as_json_has_time_level_logger_message_stage_and_facts(capsys: pytest.CaptureFixture[str]) -> None:
    """One line in ASCII each, whatever the words are."""
    print_messages("debug", "json", "train@dice_ce-0")
    log.info("epoch 3/9 – \x1b[2J\n\u202eµ", extra=with_facts(Facts(epoch=3, loss=None)))
    log.debug("b", extra=with_facts(None))
    out = capsys.readouterr().out
    assert out.isascii()
    first, second = records(out)
    assert datetime.now(UTC) - datetime.fromisoformat(first.pop("time")) < timedelta(minutes=1)
    assert first == {
        "level": "info",
        "logger": "stages.ingest.example",
        "message": "epoch 3/9 – \x1b[2J\n\u202eµ",
        "stage": "train@dice_ce-0",
        "epoch": 3,
        "loss": None,
    }
    assert (second["level"], second["message"]) == ("debug", "b")


def test_an_answer_for_a_program_is_not_mixed_with_messages(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In either format they go to standard error then."""
    monkeypatch.setattr(console, "stderr", True)
    forms: list[Format] = ["text", "json"]
    for form in forms:
        print_messages("info", form)
        log.info("a")
    captured = capsys.readouterr()
    assert captured.out == ""
    first, second = captured.err.splitlines()
    assert (first, json.loads(second)["message"]) == ("a", "a")


def test_of_several_processes_with_the_same_words_one_speaks(capsys: pytest.CaptureFixture[str]) -> None:
    """Not even errors come twice; the exit code tells the rest."""
    print_nothing()
    for level in LEVELS:
        log.log(logging.getLevelNamesMapping()[level.upper()], "a")
    assert capsys.readouterr().out == ""


def test_a_traceback_follows_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    """For people as it is, in JSON as a field."""
    for form in ("text", "json"):
        print_messages("info", form)  # type: ignore[arg-type]  # both are formats
        try:
            raise ValueError("\x1b[2J")
        except ValueError:
            log.exception("it fell")
    *lines, record = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["it fell", "Traceback (most recent call last):"]
    assert lines[-1] == "ValueError: \\x1b[2J"
    assert json.loads(record)["traceback"].endswith("ValueError: \x1b[2J")


def end(error: Exception) -> int:
    """The exit code of a program that ends with `error`."""

    def main() -> None:
        raise error

    with pytest.raises(SystemExit) as left:
        run_main(main)
    return int(str(left.value.code))


def test_an_error_as_json_has_what_its_report_has(capsys: pytest.CaptureFixture[str]) -> None:
    """The file, the value and the remedy by name, and the exit code."""
    print_messages("warning", "json", "ingest")
    assert end(DataError("the table has no rows", remedy="add one", file="dataset.csv", value=0)) == 4
    captured = capsys.readouterr()
    [record] = records(captured.err)
    assert captured.out == ""
    assert {name: value for name, value in record.items() if name not in ("time", "logger")} == {
        "level": "error",
        "message": "the table has no rows",
        "stage": "ingest",
        "file": "dataset.csv",
        "value": 0,
        "remedy": "add one",
        "exit_code": 4,
    }


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_value_that_json_has_no_number_for_is_a_word(capsys: pytest.CaptureFixture[str], value: float) -> None:
    """Most readers refuse the whole line that Python's own writer makes of it."""
    print_messages("info", "json")
    end(DataError("the loss is none", remedy="x", value=value))
    log.info("epoch", extra=with_facts(Facts(1, value)))
    captured = capsys.readouterr()
    [error, record] = records(captured.err + captured.out)
    assert error["value"] == record["loss"] == str(value)


def test_a_library_s_empty_last_line_is_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """As uvicorn's: the traceback follows on the next line."""
    log.error("Exception in ASGI application\n")
    assert capsys.readouterr().out == "Exception in ASGI application\n"


def test_an_unforeseen_error_as_json_has_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    """And the exit code that Python gives it."""
    print_messages("info", "json")
    assert end(ZeroDivisionError("no way")) == 1
    [record] = records(capsys.readouterr().err)
    assert (record["level"], record["exit_code"]) == ("error", 1)
    assert record["message"] == "unexpected: ZeroDivisionError('no way')"
    assert record["traceback"].startswith("Traceback")


def test_an_error_for_people_is_not_json(capsys: pytest.CaptureFixture[str]) -> None:
    """Its report, in the words of docs/exit-codes.md."""
    error = CapillaryError("it is broken", remedy="mend it", code=DataError("", remedy="").code)
    assert end(error) == 4
    assert capsys.readouterr().err == error.report() + "\n"


@pytest.mark.parametrize("form", FORMATS)
def test_a_line_of_another_program_keeps_its_level_and_facts(capsys: pytest.CaptureFixture[str], form: Format) -> None:
    """As JSON; for people it is the line that they would have read there. Neither is lost at a higher level."""
    print_messages("warning", form)
    relay(
        log, '{"level": "error", "message": "no room", "remedy": "make some", "time": "then", "deep": [[]]}', "part 1: "
    )
    relay(log, "a library's word", "part 1: ")
    shown = capsys.readouterr().out
    if form == "text":
        assert shown == "part 1: no room\npart 1: a library's word\n"
        return
    first, second = records(shown)
    assert (first["level"], first["message"], first["remedy"]) == ("error", "part 1: no room", "make some")
    assert first["time"] != "then"
    assert "deep" not in first, "what a stage prints is not trusted, and no record of ours is nested"
    assert second["message"] == "part 1: a library's word"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("epoch 3/9", "epoch 3/9"),
        ('{"message": "epoch 3/9", "level": "info"}', "epoch 3/9"),
        ('{"level": "info"}', '{"level": "info"}'),
        ('{"message": 3}', '{"message": 3}'),
        ("{not JSON", "{not JSON"),
        ("{" * 100_000, "{" * 100_000),
        ('["message"]', '["message"]'),
    ],
)
def test_what_a_line_says_is_found_in_both_formats(line: str, message: str) -> None:
    """Lines of libraries and DVC are none of ours."""
    assert message_of(line) == message
