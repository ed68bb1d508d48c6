"""dataset.csv: one row a stack. The table as a whole is refused at once, a wrong row becomes its volume's reason."""

import csv
import math
import posixpath
import re
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pandera.pandas as pa

from stages.common.errors import DataError
from stages.common.imaging.spacing import MAX_UM, MIN_UM
from stages.common.imaging.suffixes import SUFFIXES, suffix_of
from stages.common.text import find_hidden, visible
from stages.ingest.candidates import Candidate

SPACING = ("spacing_z_um", "spacing_y_um", "spacing_x_um")
COLUMNS = ("id", "image", "label", *SPACING)
MAX_TABLE_BYTES = 1 << 25
MAX_ROWS = 50_000
MAX_COLUMNS = 1_000
MAX_NAME_BYTES, MAX_PATH_BYTES = 255, 4096  # what file systems take
_DRIVE = re.compile(r"[A-Za-z]:")
_SAFE_ID = re.compile(r"\w[\w.\-]{0,99}")
_TAKEN = {"volumes.csv", "validation.json", "labels.json"}  # ingest's own files stand beside the volumes


def is_safe_id(text: str) -> bool:
    """Whether `text` can name a folder anywhere, cannot lead out of one and hides nothing."""
    return _SAFE_ID.fullmatch(text) is not None and text.lower() not in _TAKEN and find_hidden(text) is None


def stays_inside(path: str) -> bool:
    """Whether `path` names something below its root."""
    first = posixpath.normpath(path).split("/")[0]
    is_relative = not posixpath.isabs(path) and _DRIVE.match(path) is None
    return "\\" not in path and is_relative and first not in ("..", ".")


def is_plain(path: str) -> bool:
    """Whether `path` holds letters and signs that can be seen, none that steer a terminal or end a name."""
    return not any(unicodedata.category(sign) in ("Cc", "Cs") for sign in path)


def is_short(path: str) -> bool:
    """Whether a file system takes `path` and each name in it."""
    whole = path.encode("utf-8", "replace")
    return max(map(len, whole.split(b"/"))) <= MAX_NAME_BYTES and len(whole) <= MAX_PATH_BYTES


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _is_sane(text: str) -> bool:
    return not _is_number(text) or MIN_UM <= float(text) <= MAX_UM


def _each(test: Callable[[str], bool], error: str) -> pa.Check:
    return pa.Check(test, element_wise=True, error=error)


def _same_file(paths: "pd.Series[str]") -> "pd.Series[bool]":
    """Which of `paths` came before, in whatever spelling; empty ones do not count."""
    return paths.map(posixpath.normpath).duplicated(keep="first") & (paths != "")


_FILE = (
    _each(lambda path: "\0" not in path, "holds a NUL character, which no file name can"),
    _each(lambda path: not path or stays_inside(path), "leads out of the source (give a relative path, with /)"),
    _each(is_plain, "holds a control character"),
    _each(is_short, f"is too long: file systems take names of {MAX_NAME_BYTES} bytes and paths of {MAX_PATH_BYTES}"),
    _each(lambda path: suffix_of(path) is not None, f"names neither TIFF nor NIfTI ({', '.join(SUFFIXES)})"),
)
_SPACING = (
    _each(_is_number, "is not a number (µm, with a decimal point)"),
    _each(_is_sane, f"is outside {MIN_UM:g} to {MAX_UM:g} µm"),
)
_ID = (
    _each(is_safe_id, "cannot name a folder (use letters, digits, . _ -)"),
    # two ids that differ in case alone are one folder on some file systems
    pa.Check(lambda ids: ~ids.str.casefold().duplicated(keep=False), error="stands in several rows"),
)
# unlike an id a group may hold blanks and any sign that can be seen, such as the genotype -/-
_GROUP = (_each(lambda group: find_hidden(group) is None, "holds a character that cannot be seen: type it anew"),)
SCHEMA = pa.DataFrameSchema(
    {
        "id": pa.Column(str, list(_ID)),
        "image": pa.Column(
            str, [*_FILE, pa.Check(lambda paths: ~_same_file(paths), error="is an earlier row's image")]
        ),
        "label": pa.Column(str, list(_FILE)),
        **{name: pa.Column(str, list(_SPACING)) for name in SPACING},
        "group": pa.Column(str, list(_GROUP), required=False),
    }
)


def read_table(file: Path, shown: str) -> list[Candidate]:
    """The rows of `file`, in its order; `shown` is its name for messages.

    Raises DataError when it is too large, not CSV in UTF-8, lacks a column or has no rows.
    """
    _refuse_more("bytes", file.stat().st_size, MAX_TABLE_BYTES, shown)
    header, *lines = _read_lines(file, shown)
    _check_header(header, shown)
    if not lines:
        raise DataError("the table has no rows", remedy="add one row a stack", file=shown)
    _refuse_more("rows", len(lines), MAX_ROWS, shown)
    places = {name: header.index(name) for name in (*COLUMNS, "group") if name in header}
    rows = [{name: line[at] if at < len(line) else "" for name, at in places.items()} for line in lines]
    reasons = _reasons(rows)
    for number, line in enumerate(lines):
        if len(line) != len(header):
            reasons[number] = [f"its row has {len(line)} fields, the header has {len(header)}"]
    return [_candidate(row, number, reasons[number]) for number, row in enumerate(rows)]


def _read_lines(file: Path, shown: str) -> list[list[str]]:
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            lines = [[cell.strip() for cell in line] for line in csv.reader(stream, strict=True) if any(line)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"the table is not CSV in UTF-8: {error}", remedy="save it as comma-separated UTF-8 text", file=shown
        ) from error
    return lines or [[]]


def _refuse_more(what: str, count: int, most: int, shown: str) -> None:
    if count > most:
        remedy = "check that this is the table; a larger set can be split into several projects"
        raise DataError(f"the table has {count:,} {what}, the limit is {most:,}", remedy=remedy, file=shown)


def _check_header(header: list[str], shown: str) -> None:
    _refuse_more("columns", len(header), MAX_COLUMNS, shown)
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        separator = next((mark for mark in (";", "\t") if len(header) == 1 and mark in header[0]), None)
        hint = "" if separator is None else f": columns are separated by {separator!r}, not by commas"
        raise DataError(
            f"the table lacks the column{'s' if len(missing) > 1 else ''} {', '.join(missing)}{hint}",
            remedy=f"its first line must name {','.join(COLUMNS)} (and group, if stacks belong together)",
            file=shown,
            value=visible(", ".join(header))[:200] or "an empty file",
        )
    if len(set(header)) < len(header):
        twice = sorted({name for name in header if header.count(name) > 1})
        names = visible(", ".join(twice))
        raise DataError(f"the table names a column twice: {names}", remedy="keep one of them", file=shown)


def _reasons(rows: list[dict[str, str]]) -> list[list[str]]:
    """What is wrong with each row, in words."""
    found: list[list[str]] = [[] for _ in rows]
    try:
        SCHEMA.validate(pd.DataFrame(rows, dtype=str), lazy=True)
    except pa.errors.SchemaErrors as error:
        cases = error.failure_cases
        for number, column, value, check in zip(
            cases["index"], cases["column"], cases["failure_case"], cases["check"], strict=True
        ):
            found[int(number)].append(f"{column} is empty" if value == "" else f"{column} {value!r} {check}")
    return [list(dict.fromkeys(reasons)) for reasons in found]


def _candidate(row: dict[str, str], number: int, reasons: list[str]) -> Candidate:
    z, y, x = ("1" if reasons else row[name] for name in SPACING)
    return Candidate(
        id=row["id"] if is_safe_id(row["id"]) else f"row {number + 1}",
        group=row.get("group") or row["id"],
        image=posixpath.normpath(row["image"]),
        label=posixpath.normpath(row["label"]),
        spacing_um=None if reasons else (float(z), float(y), float(x)),
        reasons=tuple(reasons),
    )
