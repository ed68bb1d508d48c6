"""The source that ingest is to read: a folder on this disk is looked into, so that a table's mistakes cost no run."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from stages.common.dataset.hub import MAX_PIN_BYTES, is_pin, read_pin
from stages.common.dataset.layouts import READ, Layout, find_layout
from stages.common.dataset.paths import Tree, is_absolute, with_slashes
from stages.common.dataset.table import TABLE, read_rows
from stages.common.errors import DataError
from stages.common.imaging.suffixes import is_pattern, split_inside
from stages.common.preflight.check import Check, missed, passed
from stages.common.text import visible

ARCHIVE_SUFFIXES = (".zip", ".tar.gz", ".tgz")  # a test compares them with ingest's
_WANTED = "a dataset.csv whose files are there, or a known layout"
_FILES = ("image", "label")
_SHOWN = 200  # characters of a name


def check_source(root: Path, source: str, *, critical: bool, skips: bool = False) -> Check:
    """A folder with a table or with MiniVess' folders, an archive that is not empty; URLs are left to the services.

    Where ingest `skips` invalid volumes, files that a table names and that are missing are a warning.
    """
    place = root / source
    if is_pin(source) and place.is_file():
        return _check_pin(place, source, critical=critical)
    if "://" in source or not place.exists():
        return passed("source", "not on this disk" if "://" in source else "see data", _WANTED, critical=critical)
    try:
        absent = list(_absent_files(place / TABLE))
    except DataError as error:
        value = f"{source}/{TABLE}: {visible(error.what)}"
        return missed("source", value, _WANTED, error.remedy, critical=critical)
    if absent:
        more = f" and {len(absent) - 3} more" if len(absent) > 3 else ""
        value = f"{source} lacks files that its {TABLE} names: {', '.join(absent[:3])}{more}"
        remedy = f"copy them there, or correct {TABLE}"
        return missed("source", value, _WANTED, remedy, critical=critical and not skips)
    fault = _folder_fault(place) if place.is_dir() else _file_fault(place)
    if fault is not None:
        return missed("source", f"{source} {fault[0]}", _WANTED, fault[1], critical=critical)
    return passed("source", source, _WANTED, critical=critical)


def _check_pin(file: Path, source: str, *, critical: bool) -> Check:
    try:
        with file.open("rb") as stream:
            pin = read_pin(stream.read(MAX_PIN_BYTES + 1), source)
    except DataError as error:
        return missed("source", visible(error.what), "a pinned data set", error.remedy, critical=critical)
    return passed("source", pin.address.at(pin.commit), "a pinned data set", critical=critical)


def _folder_fault(folder: Path) -> tuple[str, str] | None:
    names = _lister(folder)
    if any(name.casefold() in (TABLE, "dataset.tsv") for name in names("")):
        return None
    layout = find_layout(names)
    if isinstance(layout, Layout):
        return None
    remedy = f"write a {TABLE} there, or correct ingest.source in params.yaml (docs/datasets.md)"
    return f"has neither a {TABLE} nor a known layout ({READ}), only {visible(layout.found)}", remedy


def _lister(folder: Path) -> Callable[[str], list[str]]:
    """The names in a folder below `folder`; none if there is no such folder, or it cannot be listed."""

    def names(below: str) -> list[str]:
        try:
            return sorted(entry.name for entry in (folder / below).iterdir())
        except (OSError, ValueError):  # ingest says what is wrong with it
            return []

    return names


def _absent_files(table: Path) -> Iterator[str]:
    """Paths below `image` and `label` that lead to no file. DataError for a table that cannot be used."""
    if not table.is_file():
        return
    tree = Tree(list_folder=_lister(table.parent))
    for row in read_rows(table.read_bytes(), TABLE).rows:
        for column in _FILES:
            name = row.cells[column]
            if name and not _is_there(table.parent, _place(with_slashes(name)), tree):
                yield visible(name)[:_SHOWN]


def _is_there(folder: Path, path: str, tree: Tree) -> bool:
    """By its very name, or by one that ingest takes for it."""
    if os.path.exists(folder / path):  # noqa: PTH110 - Path's raises for a long name
        return True
    return tree.inside(path) is not None if is_absolute(path) else tree.has(path)


def _place(path: str) -> str:
    """The file or folder of a stack: of a pattern its folder, of an array in a file that file."""
    return path.rpartition("/")[0] if is_pattern(path) else split_inside(path)[0]


def _file_fault(file: Path) -> tuple[str, str] | None:
    if not file.name.lower().endswith(ARCHIVE_SUFFIXES):
        return "is a file, but not an archive", f"name a folder, or one of {', '.join(ARCHIVE_SUFFIXES)}"
    if file.stat().st_size == 0:
        return "is empty (0 bytes)", "fetch it again"
    return None
