"""The source that ingest is to read: a folder on this disk is looked into, so that a table's mistakes cost no run."""

import csv
import os
from collections.abc import Iterator
from pathlib import Path

from stages.common.imaging.suffixes import NIFTI_SUFFIXES, suffix_of
from stages.common.text import visible
from stages.preflight.check import Check, missed, passed

TABLE = "dataset.csv"
ARCHIVE_SUFFIXES = (".zip", ".tar.gz", ".tgz")  # a test compares them with ingest's
_WANTED = "a dataset.csv whose files are there, or MiniVess' folders"
_FILES = ("image", "label")
_SHOWN = 200  # characters of a name


def check_source(root: Path, source: str, *, critical: bool, skips: bool = False) -> Check:
    """A folder with a table or with MiniVess' folders, an archive that is not empty; URLs are left to the services.

    Where ingest `skips` invalid volumes, files that a table names and that are missing are a warning.
    """
    place = root / source
    if "://" in source or not place.exists():
        return passed("source", "not on this disk" if "://" in source else "see data", _WANTED, critical=critical)
    try:
        absent = list(_absent_files(place / TABLE))
    except csv.Error as error:
        value = f"{source}/{TABLE} is no CSV ({error})"
        return missed("source", value, _WANTED, "save it as comma-separated UTF-8 text", critical=critical)
    if absent:
        more = f" and {len(absent) - 3} more" if len(absent) > 3 else ""
        value = f"{source} lacks files that its {TABLE} names: {', '.join(absent[:3])}{more}"
        remedy = f"copy them there, or correct {TABLE}"
        return missed("source", value, _WANTED, remedy, critical=critical and not skips)
    fault = _folder_fault(place) if place.is_dir() else _file_fault(place)
    if fault is not None:
        return missed("source", f"{source} {fault[0]}", _WANTED, fault[1], critical=critical)
    return passed("source", source, _WANTED, critical=critical)


def _folder_fault(folder: Path) -> tuple[str, str] | None:
    if (folder / TABLE).is_file():
        return None
    images = folder / "raw"
    if images.is_dir() and any(suffix_of(file.name) in NIFTI_SUFFIXES for file in images.iterdir()):
        return None
    remedy = f"write a {TABLE} there, or correct ingest.source in params.yaml (docs/getting-started.md)"
    return f"holds neither {TABLE} nor raw/*.nii.gz", remedy


def _absent_files(table: Path) -> Iterator[str]:
    """Names below `image` and `label` that lead to no file; a table without those columns is ingest's matter."""
    if not table.is_file():
        return
    with table.open(newline="", encoding="utf-8-sig", errors="replace") as stream:
        for row in csv.DictReader(stream):
            for column in _FILES:
                name = (row.get(column) or "").strip()
                if name and not os.path.exists(table.parent / name):  # noqa: PTH110 - Path's raises for a long name
                    yield visible(name)[:_SHOWN]


def _file_fault(file: Path) -> tuple[str, str] | None:
    if not file.name.lower().endswith(ARCHIVE_SUFFIXES):
        return "is a file, and no archive", f"name a folder, or one of {', '.join(ARCHIVE_SUFFIXES)}"
    if file.stat().st_size == 0:
        return "is empty (0 bytes)", "fetch it again"
    return None
