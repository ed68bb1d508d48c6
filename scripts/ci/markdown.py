"""Markdown that holds what a pull request's author chose: names and values, none of which may act on the page."""

import re
from collections.abc import Iterable, Sequence

from stages.common.text import visible

LONGEST_CELL = 80  # characters; the artifact has the whole value


def cell(value: object, longest: int = LONGEST_CELL) -> str:
    """`value` as code in a table cell: it mentions nobody, links nowhere, holds no HTML and ends no cell."""
    text = visible(str(value)) or " "
    if len(text) > longest:
        text = f"{text[: longest - 1]}…"
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    room = " " if "`" in text else ""
    return f"{fence}{room}{text}{room}{fence}".replace("|", "\\|")


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Lines of a table; every cell of `rows` is code, those of `head` are ours."""
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    return lines + [f"| {' | '.join(cell(each) for each in row)} |" for row in rows]
