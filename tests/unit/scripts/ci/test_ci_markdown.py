"""Cells of a comment: what a pull request's author chose is shown, and does nothing."""

import pytest

from scripts.ci.markdown import LONGEST_CELL, cell, table


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.5, "`0.5`"),
        ("@everyone", "`@everyone`"),
        ("<img src=x>", "`<img src=x>`"),
        ("a|b", "`a\\|b`"),
        ("a\nb", "`a\\nb`"),
        ("a`b``c", "``` a`b``c ```"),
        ("\u202eabc", "`\\u202eabc`"),
        ("", "` `"),
    ],
)
def test_a_cell_is_code(value: object, shown: str) -> None:
    """Mentions, HTML, bars, line breaks and backticks stay text."""
    assert cell(value) == shown


def test_a_long_value_is_cut() -> None:
    """A value of any length leaves a table that can be read."""
    assert len(cell("x" * 1000)) == LONGEST_CELL + len("``")


def test_a_table_has_a_line_per_row() -> None:
    """Head, rule, rows."""
    assert table(("file", "key"), [("f", "k|")]) == ["| file | key |", "|---|---|", "| `f` | `k\\|` |"]
