"""A table of stacks as rows, before anyone judges them."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

from stages.common.dataset.columns import REQUIRED, SPACING, Columns, find_columns
from stages.common.dataset.dialect import SEPARATORS, Line, decode, leading_comments, read_lines, separators_for
from stages.common.errors import DataError
from stages.common.text import visible

TABLE = "dataset.csv"
MAX_TABLE_BYTES = 1 << 25
MAX_ROWS = 50_000
MAX_LINES = 2 * MAX_ROWS  # header, rows and comments
MAX_COLUMNS = 1_000
MAX_LINES_BEFORE = 1_000  # the header
_LISTED = 8  # faults that one error lists


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of a table: `cells` by column, "" for an empty one; a column that the table lacks is not in it.

    `faults` says why it cannot be taken apart.
    """

    line: int
    cells: dict[str, str]
    faults: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Table:
    """The rows of a table in their order, and remarks on the whole of it."""

    rows: tuple[Row, ...]
    notes: tuple[str, ...]


def read_rows(data: bytes, shown: str, required: Sequence[str] = REQUIRED) -> Table:
    """The rows of the table `data`, which has the columns `required`; `shown` is its name for messages.

    Raises DataError when it is too large, no text, not CSV, lacks a column or has no rows.
    """
    refuse_more("bytes", len(data), MAX_TABLE_BYTES, shown)
    text = decode(data, shown)
    header, read, columns = _choose_separator(*_without_comments(text.text, shown, required), shown, required)
    comments: list[Line] = []
    lines: list[Line] = []
    for line in read:
        (comments if _is_comment(line, columns) else lines).append(line)
    if not lines:
        raise DataError("the table has no rows", remedy="add one row per stack", file=shown)
    refuse_more("rows", len(lines), MAX_ROWS, shown)
    lines, counted = _without_count(lines, header)
    said = f"lines that begin with # are comments: {_numbers(comments)}" if comments else ""
    notes = tuple(note for note in (text.note, *columns.notes, said, counted) if note)
    return Table(rows=tuple(_row(line, header, columns, required) for line in lines), notes=notes)


def _without_comments(text: str, shown: str, required: Sequence[str]) -> tuple[str, int]:
    """`text` from its header on, and how many lines are before that: comments, and blank ones."""
    skipped = lines = 0
    for line in leading_comments(text):
        cells = (line.split(separator, MAX_COLUMNS) for separator in SEPARATORS)
        if any(len(find_columns(each)[0].places) >= len(required) for each in cells):
            break  # a header may begin with # itself
        skipped, lines = skipped + len(line), lines + 1
        refuse_more("lines before its header", lines, MAX_LINES_BEFORE, shown)
    return text[skipped:], lines


def _is_comment(line: Line, columns: Columns) -> bool:
    """Whether a row is a comment: it begins with #, and names no file behind that. An id may begin with # as well."""
    at = columns.places.get("label", columns.places["image"])
    return line.cells[0].startswith("#") and (at == 0 or at >= len(line.cells) or not line.cells[at])


def _numbers(lines: Sequence[Line]) -> str:
    more = f" and {len(lines) - _LISTED} more" if len(lines) > _LISTED else ""
    return ", ".join(str(line.number) for line in lines[:_LISTED]) + more


def _without_count(lines: list[Line], header: Line) -> tuple[list[Line], str]:
    """`lines` without a first column that counts them and has no name, as R and pandas write it, and a remark."""
    first = [line.cells[0] for line in lines]
    starts = (0, 1)
    if header.cells[0] or first not in [[str(at + start) for at in range(len(lines))] for start in starts]:
        return lines, ""
    kept = [replace(line, cells=("", *line.cells[1:])) for line in lines]
    return kept, "the first column has no name and counts the rows; it is not read"


def refuse_more(what: str, count: int, most: int, shown: str) -> None:
    """Raise DataError if the table `shown` has more of `what` than the limit."""
    if count > most:
        remedy = "check that this is the right file; a larger set can be split into several projects"
        raise DataError(f"the table has {count:,} {what}, the limit is {most:,}", remedy=remedy, file=shown)


def _choose_separator(text: str, skipped: int, shown: str, required: Sequence[str]) -> tuple[Line, list[Line], Columns]:
    """Header, rows and columns, by the separator under which the header names most columns.

    `skipped` lines are before `text`.
    """
    separator, header = _best(text, skipped, shown)
    refuse_more("columns", len(header.cells), MAX_COLUMNS, shown)
    columns, faults = find_columns(header.cells, required)
    if faults:
        raise _unusable(faults, header, separator, shown, required)
    lines = list(itertools.islice(read_lines(text, separator, shown, skipped), MAX_LINES + 1))
    if len(lines) > MAX_LINES:
        refuse_more("lines", max(len(lines), text.count("\n")), MAX_LINES, shown)
    return header, lines[1:], columns


def _best(text: str, skipped: int, shown: str) -> tuple[str, Line]:
    """The separator and the header. Under a wrong one, a header in quotes is no CSV."""
    found, faults = [], []
    for separator in separators_for(text):
        try:
            found.append((separator, _header(text, separator, shown, skipped)))
        except DataError as error:
            faults.append(error)
    if not found:
        raise faults[0]
    return max(found, key=lambda each: _known(each[1]))


def _header(text: str, separator: str, shown: str, skipped: int) -> Line:
    return next(iter(read_lines(text, separator, shown, skipped)), Line(number=1, cells=("",)))


def _known(header: Line) -> tuple[int, int]:
    """How many columns are known in `header`, and how many there are."""
    columns, _ = find_columns(header.cells[:MAX_COLUMNS])
    return len(columns.places), len(header.cells)


def _unusable(faults: Sequence[str], header: Line, separator: str, shown: str, required: Sequence[str]) -> DataError:
    listed = "".join(f"\n    {visible(fault)}" for fault in faults[1:_LISTED])
    more = f"\n    … and {len(faults) - _LISTED} more" if len(faults) > _LISTED else ""
    return DataError(
        f"the table cannot be used: line {header.number}: {visible(faults[0])}{listed}{more}",
        remedy=f"its first line must name {','.join(required)}; {','.join(SPACING)} and group are optional "
        "(docs/datasets.md)",
        file=shown,
        value=visible(separator.join(header.cells))[:200] or "an empty file",
    )


def _row(line: Line, header: Line, columns: Columns, required: Sequence[str]) -> Row:
    cells = line.cells
    given = {name: cells[at] if at < len(cells) else "" for name, at in columns.places.items()}
    fault = _length_fault(line, header, columns, required)
    return Row(line=line.number, cells=given, faults=(fault,) if fault else ())


def _length_fault(line: Line, header: Line, columns: Columns, required: Sequence[str]) -> str:
    """What is wrong with the number of cells. Spreadsheets add empty ones, and leave out empty ones at the end."""
    have, want = len(line.cells), len(header.cells)
    extra = next((at for at, cell in enumerate(line.cells) if cell and (at >= want or not header.cells[at])), None)
    if extra is not None:
        nameless = f"column {extra + 1} has no name and holds {line.cells[extra]!r}"
        hint = "put a cell that holds a separator into quotes, or name the column"
        return f"its row has {have} fields, the header has {want}: {nameless}; {hint}"
    gone = {name for name, at in columns.places.items() if at >= have}
    is_shifted = gone & set(required) or gone & set(SPACING) not in (set(), set(SPACING) & set(columns.places))
    return f"its row has {have} fields, the header has {want}" if is_shifted else ""
