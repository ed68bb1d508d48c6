"""Tables, in a terminal and in what is not one."""

import pytest
from rich.console import Console
from rich.table import Table

from stages.common.program import console as printing
from stages.common.program.console import print_table

NAME, LONG = "capillary-train-dice_ce-0", "word " * 60


@pytest.mark.parametrize(("columns", "is_whole"), [(None, True), ("40", False)])
def test_a_pipe_gets_whole_rows(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], columns: str | None, is_whole: bool
) -> None:
    """However long they are, unless somebody says how wide a row may be."""
    made = Console(width=40)
    monkeypatch.setattr(printing, "console", made)
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns is not None:
        monkeypatch.setenv("COLUMNS", columns)
    table = Table("container", "image")
    table.add_row(NAME, LONG)
    print_table(table)
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("│")]
    assert (len(rows) == 1 and NAME in rows[0] and LONG.strip() in rows[0]) is is_whole
