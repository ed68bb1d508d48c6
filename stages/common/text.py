"""Strings that come from files and servers: made visible for people, harmless in a spreadsheet, free of logins.

A control character moves the cursor of a terminal, a bidi mark turns a line around, a zero-width one makes two names
look like one: none of them may reach a terminal, a log, a report or MLflow as it is.
"""

import csv
import io
import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

# controls, format characters (bidi marks, zero width, tags), lone surrogates, line and paragraph separators
_HIDDEN_CATEGORIES = {"Cc", "Cf", "Cs", "Zl", "Zp"}
# fillers and joiners that Unicode counts as letters or marks, and variation selectors: nothing is drawn for them either
_BLANK = {*"\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0", *map(chr, (*range(0x180B, 0x1810), *range(0xFE00, 0xFE10)))}
_VARIATION_SELECTORS = range(0xE0100, 0xE01F0)
_SHORT = {"\t": "\\t", "\n": "\\n", "\r": "\\r"}

_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?|[+-]?(nan|inf|infinity)", re.IGNORECASE)
_FORMULA_SIGNS = "=+-@"
_QUOTES = "'\"`‘’‚‛“”„‟«»"
# what may end a cell where the table's commas do not: a semicolon is the separator of half of the world's spreadsheets
_CELL_ENDS = re.compile(r"([;\t\r\n])")
_SLASHED_LOGIN = r"[^/\s:@\[\"']*:(?!\d*(?:[/?#\s\"']|$))[^\s@\"'<>,]*@(?:[^/\s]*@)?"
_LOGIN = re.compile(rf"://(?:[^/\s]*@|{_SLASHED_LOGIN})")
# what signs a link (of S3, Google, Azure) or lets a person in, as part of its query
_QUERY_LOGIN = re.compile(
    r"(?<=[?&])((?:[\w.-]*(?:signature|token|secret|passw)[\w.-]*|sig|key|api_?key|auth)=)[^&#\s'\"]+", re.IGNORECASE
)


def visible(text: str, keep: str = "") -> str:
    r"""`text` with every character that shows nothing, or moves what is shown, as an escape: `\x1b`, `\u202e`.

    Characters in `keep` stay. What is visible already comes back unchanged.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escape(sign) if _is_hidden(sign) and sign not in keep else sign for sign in text)


def find_hidden(text: str) -> str | None:
    """The first character of `text` that `visible` would escape, as that escape; None if there is none."""
    return next((_escape(sign) for sign in text if _is_hidden(sign)), None)


def percent(share: float) -> str:
    """`share` (0 to 1) as 12.3%. Neither little nor nearly all is rounded to none or all: under 0.1%, over 99.9%."""
    text = f"{share:.1%}"
    if text == "0.0%" and share > 0:
        return "under 0.1%"
    return "over 99.9%" if text == "100.0%" and share < 1 else text


def counted(number: int, one: str, many: str = "") -> str:
    """1 volume, 2 volumes, 1,000 volumes; `many` where an s is not enough."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def without_login(text: str) -> str:
    """`text` without the user:password@ part of any URL in it, and without the signatures and tokens of its query.

    The login ends at the last @, as requests reads it. A password may contain a slash: unless a port follows
    `user:`, it is a password.
    """
    return _QUERY_LOGIN.sub(r"\1…", _LOGIN.sub("://", text)) if "://" in text else text


def json_value(text: str | bytes) -> Any:
    """The value that `text` holds as JSON. Raises ValueError for what is not JSON, and for what is nested too deeply.

    Python's own reader has an error for the latter that nobody catches who reads what others wrote.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def harmless(cell: object) -> object:
    """`cell` as it may be in a CSV file that people open: hidden characters visible, a formula as text.

    Numbers, and strings that are numbers, stay as they are.
    """
    if not isinstance(cell, str):
        return cell
    parts = _CELL_ENDS.split(cell)
    return "".join(f"'{visible(part)}" if _starts_formula(part) else visible(part) for part in parts)


def as_csv(columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> bytes:
    """A table as CSV with a header, each cell harmless; equal rows give equal bytes. Other keys of a row are left out.

    Raises KeyError for a row that lacks a column.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([harmless(name) for name in columns])
    writer.writerows([harmless(row[name]) for name in columns] for row in rows)
    return text.getvalue().encode()


def _is_hidden(sign: str) -> bool:
    if unicodedata.category(sign) in _HIDDEN_CATEGORIES:
        return True
    return sign in _BLANK or ord(sign) in _VARIATION_SELECTORS


def _escape(sign: str) -> str:
    number = ord(sign)
    if sign in _SHORT:
        return _SHORT[sign]
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def _starts_formula(text: str) -> bool:
    if _NUMBER.fullmatch(text):
        return False
    # a spreadsheet drops blanks and quotes at the start, and some take the full-width signs for the plain ones
    first = next((sign for sign in text if not (sign.isspace() or _is_hidden(sign) or sign in _QUOTES)), "")
    return bool(first) and unicodedata.normalize("NFKC", first)[0] in _FORMULA_SIGNS
