"""Strings from files: nothing hidden reaches a terminal, and nothing that a spreadsheet would compute a table."""

import csv
import io
import re
import sys
import unicodedata

import pytest
from rich.console import Console
from rich.table import Table

from stages.common.errors import DataError
from stages.common.program import messages
from stages.common.program import progress as progress_module
from stages.common.program.console import plain, print_answer
from stages.common.program.messages import get_logger
from stages.common.program.progress import Steps, progress
from stages.common.text import as_csv, counted, find_hidden, harmless, percent, visible
from tests.support.attacks import FORMULAS, HIDDEN, MARKUP, shows_all


@pytest.mark.parametrize("text", HIDDEN.values(), ids=HIDDEN)
def test_hidden_characters_become_escapes_that_python_reads_back(text: str) -> None:
    """What is shown is printable, names each character, and does not change when it is shown again."""
    shown = visible(text)
    assert shown.isprintable()
    assert shows_all(shown, lines=False)
    assert visible(shown) == shown
    assert shown.encode().decode("unicode_escape") == text
    assert find_hidden(text) in shown


@pytest.mark.parametrize(
    ("number", "words", "text"),
    [
        (0, ("volume",), "0 volumes"),
        (1, ("volume",), "1 volume"),
        (2000, ("volume",), "2,000 volumes"),
        (1, ("patch", "patches"), "1 patch"),
        (3, ("patch", "patches"), "3 patches"),
    ],
)
def test_one_is_no_plural(number: int, words: tuple[str, ...], text: str) -> None:
    """Where an s is not enough, the plural is named."""
    assert counted(number, *words) == text


@pytest.mark.parametrize("text", ["mouse 3", "säuger_2", "血管", "Gefäß", "a\\x1bb", "[bold]", "é", "5 µm × 2", ""])
def test_what_people_write_stays(text: str) -> None:
    """Letters of any script, signs, blanks and backslashes are shown as they are."""
    assert visible(text) == text
    assert find_hidden(text) is None
    assert harmless(text) == text


def test_every_format_and_control_character_counts_as_hidden() -> None:
    """The whole of Unicode, by category: an independent reference."""
    signs = (chr(number) for number in range(sys.maxunicode + 1))
    hidden = {sign for sign in signs if unicodedata.category(sign) in {"Cc", "Cf", "Cs", "Zl", "Zp"}}
    shown = visible("".join(sorted(hidden)))
    assert shown.isascii()
    assert shown.count("\\") == len(hidden)


@pytest.mark.parametrize("text", FORMULAS.values(), ids=FORMULAS)
def test_a_formula_is_text_in_a_table(text: str) -> None:
    """An apostrophe stands before it, wherever a spreadsheet may begin a cell."""
    (_, (cell,)) = csv.reader(io.StringIO(as_csv(["group"], [{"group": text}]).decode(), newline=""))
    assert all(re.match(r"['\w\\]", part) for part in cell.split(";"))
    assert "'" in cell
    assert shows_all(cell, lines=False)


@pytest.mark.parametrize(
    "text", ["-1", "-0.5", ".5", "-.5", "-1e-05", "1E+10", "nan", "-inf", "Infinity", "mv-01", "a=b", "x@y", "1-2"]
)
def test_numbers_and_ids_are_no_formulas(text: str) -> None:
    """Negative numbers, exponents, NaN and infinity stay numbers, and a sign inside a word is not a formula."""
    assert harmless(text) == text


def test_a_table_keeps_numbers_exactly() -> None:
    """Floats to the last bit, None as an empty cell, columns in the order asked for, further keys left out."""
    row = {"id": "v1", "dsc": 0.1 + 0.2, "low": -1e-300, "none": None, "inf": float("-inf"), "more": 1}
    text = as_csv(["low", "id", "dsc", "none", "inf"], [row]).decode()
    assert text == "low,id,dsc,none,inf\n-1e-300,v1,0.30000000000000004,,-inf\n"


@pytest.mark.parametrize("text", [*HIDDEN.values(), *MARKUP.values()], ids=[*HIDDEN, *MARKUP])
def test_a_line_shows_all_and_is_one_line(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`print_answer` prints no escape sequence, no second line, no markup, no picture for a word between colons."""
    print_answer(text)
    get_logger("stages.x").info(text)
    assert capsys.readouterr().out.splitlines() == [visible(text)] * 2


@pytest.mark.parametrize("text", [*HIDDEN.values(), *MARKUP.values()], ids=[*HIDDEN, *MARKUP])
def test_a_cell_of_a_table_shows_all(text: str) -> None:
    """As `print_answer`, within a table."""
    out = io.StringIO()
    table = Table("name", box=None)
    table.add_row(plain(text))
    Console(file=out, width=120).print(table)
    assert out.getvalue().splitlines()[1].strip() == visible(text)


@pytest.mark.parametrize("text", HIDDEN.values(), ids=HIDDEN)
def test_a_bar_shows_all(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name of a step on a terminal cannot move its cursor."""
    terminal = Console(file=io.StringIO(), force_terminal=True, width=100)
    for module in (messages, progress_module):
        monkeypatch.setattr(module, "console", terminal)
    with progress("ingest", 1) as steps:
        assert isinstance(steps, Steps)
        steps.advance(text)
        assert steps._bar is not None
        assert shows_all(steps._bar.tasks[0].description, lines=False)


@pytest.mark.parametrize("text", HIDDEN.values(), ids=HIDDEN)
@pytest.mark.parametrize("part", ["what", "file", "value", "remedy"])
def test_an_error_shows_all_wherever_the_text_came_in(part: str, text: str) -> None:
    """A report holds nothing hidden, and no line of it begins as one of its own but those four."""
    parts = {"what": "it is wrong", "file": "a.tif", "value": "3", "remedy": "mend it", part: text}
    what = parts.pop("what")
    report = DataError(what, **parts).report()
    assert shows_all(report)
    heads = [line[:10] for line in report.splitlines() if not line.startswith("    ")]
    assert [head.split(":")[0].strip() for head in heads] == ["error", "file", "value", "remedy"]


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.0, "0.0%"),
        (1e-9, "under 0.1%"),
        (0.0004, "under 0.1%"),
        (0.0005, "0.1%"),
        (0.0834, "8.3%"),
        (0.9994, "99.9%"),
        (0.99951, "over 99.9%"),
        (1 - 1e-9, "over 99.9%"),
        (1.0, "100.0%"),
    ],
)
def test_little_is_not_none_and_nearly_all_is_not_all(share: float, text: str) -> None:
    """A share is rounded to 0.0% or 100.0% only if it is exactly that."""
    assert percent(share) == text
