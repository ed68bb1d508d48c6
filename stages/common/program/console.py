"""The terminal or log that a program writes to, and answers: what somebody asked for, which is shown at every level."""

import os

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from stages.common.text import visible

# wide in a log, so that a line of progress stays one line
console = Console(highlight=False, soft_wrap=True, emoji=False)
WIDEST = 10_000  # columns of a table that no terminal shows


def answer_is_for_program() -> None:
    """From now on everything but the answer itself goes to standard error."""
    console.stderr = True


def print_answer(text: str) -> None:
    """One line of an answer, plain: square brackets are not markup, and what shows nothing is an escape."""
    console.print(visible(text), markup=False, emoji=False)


def print_table(table: Table) -> None:
    """In a terminal as wide as that is; in a pipe or a file as wide as its content, so that no name is cut."""
    if not console.is_terminal and not os.environ.get("COLUMNS"):
        console.width = Measurement.get(console, console.options.update(width=WIDEST), table).maximum
    console.print(table)


def plain(text: object, style: str = "") -> Text:
    """`text` for a cell or a title of a table: as plain as what `print_answer` prints. `style` is rich's."""
    return Text(visible(str(text)), style=style)
