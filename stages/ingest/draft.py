"""A table for a folder of stacks, as ingest understands the folder: for a person to correct."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from stages.common.dataset.columns import COLUMNS, GROUP, SPACING
from stages.common.errors import DataError
from stages.common.imaging.reading import read_header
from stages.common.imaging.spacing import spacing_of
from stages.common.imaging.suffixes import is_pattern, split_inside
from stages.common.imaging.zyx import PartialSpacing, Spacing
from stages.common.text import as_csv
from stages.ingest.candidates import Candidate
from stages.ingest.given_spacing import complete
from stages.ingest.layout import list_candidates
from stages.ingest.sources.local import LocalFolder

_SOURCE = "spacing_source"  # a column for the reader; ingest passes over it
_NO_SPACING: PartialSpacing = (None, None, None)


@dataclass(frozen=True, kw_only=True)
class DraftRow:
    """One volume: its candidate, the spacing (z, y, x; µm) as far as it is known, where that is from, and remarks."""

    candidate: Candidate
    spacing_um: PartialSpacing
    source: str
    remarks: tuple[str, ...]

    @property
    def lacks_spacing(self) -> bool:
        """Whether a cell of its spacing is empty."""
        return None in self.spacing_um

    def filled(self, spacing_um: Spacing, source: str) -> "DraftRow":
        """With `spacing_um` in the cells that are empty."""
        z, y, x = (given if cell is None else cell for cell, given in zip(self.spacing_um, spacing_um, strict=True))
        return replace(self, spacing_um=(z, y, x), source=source)


@dataclass(frozen=True, kw_only=True)
class Draft:
    """The rows of a table that is not written yet, and remarks on the whole set."""

    rows: tuple[DraftRow, ...]
    notes: tuple[str, ...]

    @property
    def without_spacing(self) -> tuple[DraftRow, ...]:
        """The rows in which a cell of the spacing is empty."""
        return tuple(row for row in self.rows if row.lacks_spacing)

    def filled(self, spacing_um: Spacing, source: str) -> "Draft":
        """With `spacing_um` in every row that lacks it."""
        rows = (row.filled(spacing_um, source) if row.lacks_spacing else row for row in self.rows)
        return replace(self, rows=tuple(rows))

    def as_csv(self) -> bytes:
        """The table; `group` is a column of it where a volume has a group other than itself."""
        has_groups = any(row.candidate.group not in (row.candidate.id, "") for row in self.rows)
        columns = (*COLUMNS, *((GROUP,) if has_groups else ()), _SOURCE)
        return as_csv(columns, [_cells(row) for row in self.rows])


def draft_table(folder: Path, shown: str, scratch: Path) -> Draft:
    """What ingest would read in `folder`, by its table or its layout; nothing but headers is read.

    Raises DataError if there is neither, or the table cannot be used.
    """
    source = LocalFolder(folder=folder, shown=shown)
    offer = list_candidates(source, scratch)
    return Draft(rows=tuple(_row(each, source) for each in offer.candidates), notes=offer.notes)


def _row(candidate: Candidate, source: LocalFolder) -> DraftRow:
    remarks = [*candidate.reasons, *candidate.warnings]
    given, origin = candidate.spacing_um or _NO_SPACING, "dataset.csv" if candidate.spacing_um else ""
    if candidate.image:
        given, origin = _spacing(candidate, source, remarks)
    return DraftRow(candidate=candidate, spacing_um=given, source=origin, remarks=tuple(remarks))


def _spacing(candidate: Candidate, source: LocalFolder, remarks: list[str]) -> tuple[PartialSpacing, str]:
    """By the table, else by the header of the image; a doubt joins `remarks`."""
    given = candidate.spacing_um
    try:
        told = spacing_of(read_header(_place_of(candidate.image, source)))
    except DataError as error:
        remarks.append(f"image {candidate.image}: {error.what}")
        return given or _NO_SPACING, "dataset.csv" if given else ""
    whole, origin = complete(given, told)
    if whole is not None:
        return whole, origin
    if given is not None:
        return given, "dataset.csv"
    remarks += told.warnings if told.spacing_um else ()
    return told.spacing_um or _NO_SPACING, told.source


def _place_of(image: str, source: LocalFolder) -> Path:
    """Where the stack is: an array in an HDF5 file, or slices by a pattern, are no file of that name."""
    if is_pattern(image):
        folder, _, name = image.rpartition("/")
        return source.real_place(folder) / name
    file, inside = split_inside(image)
    place = source.real_place(file)
    return Path(f"{place}:/{inside}") if inside else place


def _cells(row: DraftRow) -> dict[str, object]:
    candidate = row.candidate
    spacing = dict(zip(SPACING, map(_number, row.spacing_um), strict=True))
    names = {"id": candidate.id, "image": candidate.image, "label": candidate.label, GROUP: candidate.group}
    return {**names, **spacing, _SOURCE: row.source}


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.7g}"


def remarks_of(rows: Sequence[DraftRow], most: int) -> list[str]:
    """What a person should look at, one line per remark, `most` at most."""
    lines = [f"{row.candidate.id}: {remark}" for row in rows for remark in row.remarks]
    return lines[:most] + ([f"… and {len(lines) - most} more"] if len(lines) > most else [])
