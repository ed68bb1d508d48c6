"""The stacks that a table names (dataset.csv): its column `image`, and the spacing where it has that. No labels."""

from dataclasses import dataclass
from pathlib import Path

from stages.common.dataset.columns import SPACING
from stages.common.dataset.lengths import micrometres_in
from stages.common.dataset.paths import Tree, is_absolute, is_short, stays_inside, with_slashes
from stages.common.dataset.table import MAX_TABLE_BYTES, read_rows, refuse_more
from stages.common.dataset.table import Row as TableRow
from stages.common.errors import DataError
from stages.common.imaging.zyx import PartialSpacing
from stages.common.program.messages import get_logger

log = get_logger(__name__)

IMAGE = "image"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One stack of a table; `spacing_um` is z, y, x, None where the file's own counts."""

    image: Path
    spacing_um: PartialSpacing | None


def read_stack_table(file: Path, root: Path) -> tuple[Row, ...]:
    """The rows of `file`, read as *ingest* reads a table (docs/datasets.md).

    Their paths are relative to its folder, and may lead into DVC's cache of `root`.

    Raises DataError when it is missing, too large, not CSV, has no column `image` or no row, or leads elsewhere.
    """
    if not file.is_file():
        raise DataError("the table does not exist", file=file, remedy="correct its name")
    refuse_more("bytes", file.stat().st_size, MAX_TABLE_BYTES, str(file))
    table = read_rows(file.read_bytes(), str(file), required=(IMAGE,))
    for note in table.notes:
        log.warning(f"{file.name}: {note}")
    tree = Tree(list_folder=lambda folder: _names(file.parent / folder, file.parent))
    return tuple(_row(row, file, root, tree) for row in table.rows)


def _names(folder: Path, top: Path) -> list[str]:
    """What is in `folder`, none if that is outside `top`."""
    is_inside = folder.is_dir() and folder.resolve().is_relative_to(top.resolve())
    return sorted(entry.name for entry in folder.iterdir()) if is_inside else []


def _row(row: TableRow, file: Path, root: Path, tree: Tree) -> Row:
    if row.faults:
        raise DataError(f"line {row.line}: {row.faults[0]}", file=file, remedy="correct the line")
    return Row(image=_image(row, file, root, tree), spacing_um=_spacing(row, file))


def _image(row: TableRow, file: Path, root: Path, tree: Tree) -> Path:
    """The row's image as a path. A table may come from anywhere: it names nothing outside its folder."""
    text = row.cells[IMAGE]
    if not text:
        raise DataError(f"line {row.line}: image is empty", file=file, remedy="name the stack, or remove the line")
    inner = with_slashes(text)
    if "\0" in text or not is_short(inner):
        raise _outside(text, file)
    if is_absolute(inner):
        _, inner = tree.inside(inner) or ("", inner)
    if not stays_inside(inner):
        raise _outside(text, file)
    found = tree.find(inner)
    if found.fault:
        raise DataError(f"line {row.line}: image {text!r} {found.fault}", file=file, remedy="correct the line")
    if found.note:
        log.warning(f"{file.name}: line {row.line}: {found.note}")
    place = file.parent / found.path
    allowed = (file.parent.resolve(), (root / ".dvc" / "cache").resolve())
    if not any(place.resolve().is_relative_to(folder) for folder in allowed):
        raise _outside(text, file)
    return place


def _outside(text: str, file: Path) -> DataError:
    return DataError(
        "a row of the table names a file outside its folder",
        file=file,
        value=text,
        remedy="write a path relative to the table, with /; name other files on the command line",
    )


def _spacing(row: TableRow, file: Path) -> PartialSpacing | None:
    z, y, x = (_length(name, row, file) for name in SPACING)
    return None if (z, y, x) == (None, None, None) else (z, y, x)


def _length(column: str, row: TableRow, file: Path) -> float | None:
    """None for an empty cell."""
    cell = row.cells.get(column, "")
    length_um = micrometres_in(cell)
    if cell and (length_um is None or length_um <= 0):
        raise DataError(
            f"line {row.line}: {column} of {row.cells[IMAGE]} is not a length above 0",
            file=file,
            value=cell,
            remedy="write it in µm, or leave the cell empty to have the file's own",
        )
    return length_um
