"""dataset.csv: one row per stack. The table as a whole is refused at once, a wrong row becomes its volume's reason."""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pandera.pandas as pa

from stages.common.dataset.columns import SPACING
from stages.common.dataset.ids import clashes, fault_of, group_of, mapping_note, others_of, safe_id
from stages.common.dataset.lengths import micrometres_in
from stages.common.dataset.paths import (
    MAX_NAME_BYTES,
    MAX_PATH_BYTES,
    Tree,
    is_absolute,
    is_plain,
    is_short,
    stays_inside,
    with_slashes,
)
from stages.common.dataset.table import MAX_TABLE_BYTES, Row, read_rows, refuse_more
from stages.common.imaging.spacing import MAX_UM, MIN_UM
from stages.common.imaging.suffixes import READ, is_slice, may_name_stack
from stages.common.imaging.zyx import PartialSpacing
from stages.common.text import find_hidden
from stages.ingest.candidates import Candidate, SourceContent
from stages.ingest.doubts.exchanged import exchanged

_FILES = ("image", "label")
# what R, pandas and people write for a value that is missing
_MISSING = {"na", "n/a", "#n/a", "nan", "none", "null", "nil", "unknown", "-", "–", "?", "."}


def _is_length(text: str) -> bool:
    return not text or micrometres_in(text) is not None


def _is_sane(text: str) -> bool:
    value = micrometres_in(text)
    return value is None or MIN_UM <= value <= MAX_UM


def _each(test: Callable[[str], bool], error: str) -> pa.Check:
    return pa.Check(test, element_wise=True, error=error)


_FILE = (
    _each(bool, "is empty"),
    _each(lambda path: "\0" not in path, "holds a NUL character, which no file name can"),
    _each(
        lambda path: not path or stays_inside(path),
        "leads outside the source (give a path relative to dataset.csv, such as images/a.tif)",
    ),
    _each(is_plain, "holds a control character"),
    _each(is_short, f"is too long: file systems take names of {MAX_NAME_BYTES} bytes and paths of {MAX_PATH_BYTES}"),
)
_SPACING = (
    _each(_is_length, "is not a number (give µm, such as 0.5; leave it empty where the image's header is right)"),
    _each(_is_sane, f"is outside {MIN_UM:g} to {MAX_UM:g} µm"),
)
# unlike an id a group may hold blanks and any sign that can be seen, such as the genotype -/-
_GROUP = (_each(lambda group: find_hidden(group) is None, "has an invisible character: type the name again"),)
SCHEMA = pa.DataFrameSchema(
    {
        "image": pa.Column(str, list(_FILE)),
        "label": pa.Column(str, list(_FILE)),
        **{name: pa.Column(str, list(_SPACING), required=False) for name in SPACING},
        "group": pa.Column(str, list(_GROUP), required=False),
    }
)


@dataclass(kw_only=True)
class _Entry:
    """A row on its way to a candidate: `files` are its paths in the source."""

    row: Row
    files: dict[str, str]
    reasons: list[str]
    warnings: list[str]
    roots: set[str]  # the folders above the source in its absolute paths

    @property
    def name(self) -> str:
        """The id as the table has it."""
        return self.row.cells["id"]


def read_table(file: Path, shown: str, list_folder: Callable[[str], list[str]]) -> SourceContent:
    """The rows of `file`, in its order; `shown` is its name for messages, `list_folder` gives the source's names.

    Raises DataError when it is too large, no text, not CSV, lacks a column or has no rows.
    """
    refuse_more("bytes", file.stat().st_size, MAX_TABLE_BYTES, shown)
    table = read_rows(file.read_bytes(), shown)
    tree = Tree(list_folder=list_folder)
    entries = [_entry(row, tree) for row in table.rows]
    _check_cells(entries)
    for entry in entries:
        _check_formats(entry, tree)
        _find_files(entry, tree)
    _check_ids(entries)
    _check_roots(entries)
    _check_copies(entries)
    _check_roles(entries)
    _check_names(entries)
    candidates = tuple(_candidate(entry) for entry in entries)
    return SourceContent(
        candidates=candidates, notes=(*table.notes, *_group_notes(candidates), *_merged_groups(entries))
    )


def _group_notes(candidates: Sequence[Candidate]) -> list[str]:
    """Remarks on groups that may be one animal, on both sides of a fold (M7 and m7, 7 and 7.0 of merged tables), and
    on those that may be none.
    """
    alike: dict[str, list[str]] = defaultdict(list)
    for name in dict.fromkeys(candidate.group for candidate in candidates):
        alike[_alike(name)].append(name)
    notes = [
        f"groups that differ only in case, or in how a number is written, are counted apart: {', '.join(each)}"
        for each in alike.values()
        if each[1:]
    ]
    counts = Counter(candidate.group for candidate in candidates if candidate.group.casefold() in _MISSING)
    alone = {candidate.id for candidate in candidates if candidate.group == candidate.id}
    shared = {candidate.group for candidate in candidates if candidate.group != candidate.id} & alone
    notes += [
        f"the volume {name!r} is in the group of its own name, with others; rename the group if that is wrong"
        for name in sorted(shared)
    ]
    return notes + [
        f"{count} rows are one group, {name!r}; leave their cells empty if they have none"
        for name, count in counts.items()
        if count > 1
    ]


def _merged_groups(entries: Sequence[_Entry]) -> list[str]:
    """A remark where no two rows share a group and some have none, from the second on: of cells that are merged in a
    spreadsheet, the first alone keeps its value, and the stacks of one animal would be in several folds.
    """
    cells = [group_of(entry.row.cells.get("group", "")) for entry in entries]
    named = [cell for cell in cells if cell]
    if not cells[0] or len(named) == len(cells) or len(set(named)) < len(named):
        return []
    empty = f"{len(cells) - len(named)} of {len(cells)} rows have no group, and no two rows share one"
    return [f"{empty}: each counts for itself; if cells were merged in a spreadsheet, repeat the group in each row"]


def _alike(group: str) -> str:
    """Equal for names that a person may take for one."""
    whole = re.fullmatch(r"0*([0-9]+)(\.0*)?", group)
    return whole[1] if whole else unicodedata.normalize("NFKC", group).casefold()


def _entry(row: Row, tree: Tree) -> _Entry:
    """With its paths relative to the source, as far as that can be told."""
    entry = _Entry(row=row, files={}, reasons=list(row.faults), warnings=[], roots=set())
    for column in _FILES:
        path = with_slashes(row.cells[column])
        inside = tree.inside(path) if is_absolute(path) and is_plain(path) and is_short(path) else None
        if inside is not None:
            root, rest = inside
            entry.roots.add(root)
            entry.warnings.append(f"{column} {path!r} is an absolute path; {rest} in the source is read")
            path = rest
        entry.files[column] = path
    return entry


def _check_cells(entries: Sequence[_Entry]) -> None:
    """What is wrong with each cell for itself, as reasons."""
    cells = [{**entry.row.cells, **entry.files} for entry in entries]
    try:
        SCHEMA.validate(pd.DataFrame(cells, dtype=str), lazy=True)
    except pa.errors.SchemaErrors as error:
        cases = error.failure_cases
        for at, column, value, check in zip(
            cases["index"], cases["column"], cases["failure_case"], cases["check"], strict=True
        ):
            entry = entries[int(at)]
            given = entry.row.cells[column] if column in _FILES else value
            entry.reasons.append(f"{column} is empty" if not value else f"{column} {given!r} {check}")
    for entry in entries:
        entry.reasons = list(dict.fromkeys(entry.reasons))


def _check_formats(entry: _Entry, tree: Tree) -> None:
    """Refuse names of files that are not read. A folder of slices may be called m1.5."""
    for column, path in entry.files.items():
        is_path = stays_inside(path) and is_plain(path) and is_short(path)
        if is_path and not may_name_stack(path) and not _holds_slices(path, tree):
            entry.reasons.append(f"{column} {entry.row.cells[column]!r} has no supported format ({READ})")


def _holds_slices(path: str, tree: Tree) -> bool:
    return not is_slice(path) and tree.has(path) and any(map(is_slice, tree.names_in(tree.find(path).path)))


def _find_files(entry: _Entry, tree: Tree) -> None:
    """The names that the source has for the files of `entry`."""
    if entry.reasons:
        return
    for column in _FILES:
        found = tree.find(entry.files[column])
        entry.files[column] = found.path
        if found.fault:
            entry.reasons.append(f"{column} {entry.row.cells[column]!r} {found.fault}")
        if found.note:
            entry.warnings.append(f"{column} {found.note}")


def _check_ids(entries: Sequence[_Entry]) -> None:
    """What is wrong with an id, and which ids are one folder."""
    for entry in entries:
        if fault := fault_of(entry.name):
            entry.reasons.append(f"id {entry.name!r} {fault}" if entry.name else "id is empty")
        elif note := mapping_note(entry.name):
            entry.warnings.insert(0, note)
    named = [entry for entry in entries if not fault_of(entry.name)]
    for at, places in clashes([entry.name for entry in named]).items():
        shown = [named[other] for other in others_of(at, places)]
        named[at].reasons.append(_clash(named[at], shown, more=len(places) - 1 - len(shown)))


def _clash(entry: _Entry, others: Sequence[_Entry], more: int) -> str:
    names = ", ".join(f"{other.name!r} (line {other.row.line})" for other in others)
    names += f" and {more} more" if more else ""
    return f"id {entry.name!r} is the same folder, {safe_id(entry.name)}, as that of {names}: give each its own"


def _check_roots(entries: Sequence[_Entry]) -> None:
    """Absolute paths of two folders: files of another set could be taken for those that happen to be called alike."""
    roots = sorted(set().union(*(entry.roots for entry in entries)))
    if len(roots) < 2:
        return
    shown = ", ".join(roots[:3])
    for entry in entries:
        if entry.roots:
            entry.reasons.append(f"the table's absolute paths are in several folders ({shown}); make them relative")


def _check_copies(entries: Sequence[_Entry]) -> None:
    """An image in several rows counts for the first: it would be copied and read again for each."""
    lines: dict[str, list[int]] = defaultdict(list)
    for entry in entries:
        image = entry.files["image"]
        if image and lines[image]:
            entry.reasons.append(f"image {image!r} is an earlier row's image (line {lines[image][0]})")
        lines[image].append(entry.row.line)


def _check_roles(entries: Sequence[_Entry]) -> None:
    """A file that is the image of one row and the label of another: one of the two rows is wrong."""
    lines: dict[str, dict[str, list[int]]] = {column: defaultdict(list) for column in _FILES}
    for entry in entries:
        for column, path in entry.files.items():
            lines[column][path].append(entry.row.line)
    for entry in entries:
        for column, other in (("image", "label"), ("label", "image")):
            path = entry.files[column]
            rows = [line for line in lines[other].get(path, ()) if line != entry.row.line]
            if path and rows:
                entry.reasons.append(f"{column} {path!r} is the {other} of line {rows[0]}")


def _check_names(entries: Sequence[_Entry]) -> None:
    """A label that goes by its name with another row's image: of a table, people sort one column alone."""
    whole = [entry for entry in entries if all(entry.files.values())]
    found = exchanged([(entry.files["image"], entry.files["label"]) for entry in whole])
    for entry, other in ((whole[place], whole[at]) for place, at in found.items()):
        goes_with = f"goes by its name with the image of line {other.row.line}, {other.files['image']!r}"
        entry.warnings.append(f"label {entry.files['label']!r} {goes_with}, not with its own")


def _candidate(entry: _Entry) -> Candidate:
    row, line = entry.row, entry.row.line
    name = f"line {line}" if fault_of(entry.name) else safe_id(entry.name)
    return Candidate(
        id=name,
        group=group_of(row.cells.get("group", "")) or name,
        image=entry.files["image"],
        label=entry.files["label"],
        spacing_um=None if row.faults else _spacing(row),  # in a row of another length, values may have moved
        reasons=tuple(f"line {line}: {reason}" for reason in entry.reasons),
        warnings=tuple(entry.warnings),
        origin=f"line {line} of the table",
    )


def _spacing(row: Row) -> PartialSpacing | None:
    """z, y, x in µm; None on an axis whose cell is empty, and as a whole where all three are."""
    z, y, x = (micrometres_in(row.cells.get(name, "")) for name in SPACING)
    return None if (z, y, x) == (None, None, None) else (z, y, x)
