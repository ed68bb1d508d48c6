"""The text of a table, whichever program saved it: its encoding, its separator, its lines as an editor counts them."""

import codecs
import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass

from stages.common.errors import DataError

SEPARATORS = (",", ";", "\t", "|")
SAVE_AS = "save it as comma-separated UTF-8 text"
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_KINDS = ((b"PK\x03\x04", "a spreadsheet or a zip"), (b"\xd0\xcf\x11\xe0", "an old Excel file"), (b"%PDF", "a PDF"))
# In Latin-1, signs that tables of stacks hold, and letters. Words of other alphabets are runs of such bytes; in Western
# words accented letters stand alone, or two small ones together (Größe).
_WESTERN = re.compile(r"(?:[\x00-\x7f°²³µ×À-ÖØ-öø-ÿ])*")
_RUN = re.compile(r"[^\x00-\x7f]{3,}|[À-ÖØ-Þ][^\x00-\x7f]|[^\x00-\x7f][À-ÖØ-Þ]")
_SEP_LINE = re.compile(r"""\s*"?sep=(.)"?\s*""", re.IGNORECASE)
_COMMENT = re.compile(r"[ \t]*(?:#[^\r\n]*)?(?:\r\n|\r|\n)")
_AS_TEXT = re.compile(r'="([^"]*)"')  # a formula that keeps Excel from taking 007 for 7
_GUARDED = re.compile(r"'[=+\-@]")  # an apostrophe keeps a spreadsheet from computing the cell


@dataclass(frozen=True, kw_only=True)
class Line:
    """One row of a table. `number` is the line on which it begins, as an editor shows it."""

    number: int
    cells: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Text:
    """A decoded table. `note` is a doubt about its encoding, in words; empty without one."""

    text: str
    note: str = ""


def decode(data: bytes, shown: str) -> Text:
    """The text of `data`: by its byte order mark, else UTF-8, else Latin-1 where it can be nothing else.

    Raises DataError for anything else; `shown` is the table's name.
    """
    kind = next((name for magic, name in _KINDS if data.startswith(magic)), None)
    if kind is not None:
        raise DataError(f"the table is {kind}, not text", remedy=SAVE_AS, file=shown)
    encoding = next((name for mark, name in _BOMS if data.startswith(mark)), None)
    if encoding is None and data.count(0) * 4 > len(data):  # a single one is the fault of its cell
        raise _not_text("it holds NUL characters: UTF-16 without a byte order mark, or no text", shown)
    try:
        text = data.decode(encoding or "utf-8")
    except UnicodeDecodeError as error:
        if encoding is not None:
            raise _not_text(f"its first bytes announce {encoding}, but it is not: {error}", shown) from error
        return _western(data, shown, error)
    return Text(text=text)


def _western(data: bytes, shown: str, error: UnicodeDecodeError) -> Text:
    text = data.decode("latin-1")
    line = data[: error.start].count(b"\n") + 1
    if _WESTERN.fullmatch(text) is None or _RUN.search(text):
        raise _not_text(f"line {line} is not UTF-8, and its encoding cannot be determined", shown) from error
    return Text(text=text, note=f"the table is not UTF-8 (line {line}); it is read as Latin-1")


def _not_text(what: str, shown: str) -> DataError:
    return DataError(f"the table cannot be read as text: {what}", remedy=SAVE_AS, file=shown)


def leading_comments(text: str) -> Iterator[str]:
    """The lines before the first that is neither blank nor begins with #, as they are."""
    at = 0
    while found := _COMMENT.match(text, at):
        yield found[0]
        at = found.end()


def separators_for(text: str) -> tuple[str, ...]:
    """Those that may part the cells: one that a first line `sep=;` names, else every usual one."""
    named = _SEP_LINE.fullmatch(text.split("\n", 1)[0])
    return (named[1],) if named else SEPARATORS


def read_lines(text: str, separator: str, shown: str, skipped: int) -> Iterator[Line]:
    """The rows that hold anything, with blanks around cells removed. `skipped` lines are before `text`.

    Raises DataError with the line for a quote that never ends, and the like.
    """
    is_named = _SEP_LINE.fullmatch(text.split("\n", 1)[0]) is not None
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True, skipinitialspace=True)
    while True:
        number = skipped + reader.line_num + 1
        try:
            cells = tuple(_plain(cell) for cell in next(reader))
        except StopIteration:
            return
        except csv.Error as error:
            raise DataError(
                f"the table is not CSV: line {number}: {error}", remedy="close each quote in its line", file=shown
            ) from error
        if any(cells) and not (number == skipped + 1 and is_named):
            yield Line(number=number, cells=cells)


def _plain(cell: str) -> str:
    text = cell.strip().strip("\ufeff")
    if formula := _AS_TEXT.fullmatch(text):
        return formula[1].strip()
    return text[1:] if _GUARDED.match(text) else text
