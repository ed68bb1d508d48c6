"""The stacks that a table names (dataset.csv): its column `image`, and the spacing where it has that. No labels."""

import csv
import math
import posixpath
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from stages.common.errors import DataError
from stages.predict.request import Spacing

IMAGE = "image"
SPACING = ("spacing_z_um", "spacing_y_um", "spacing_x_um")
MAX_BYTES = 1 << 25


@dataclass(frozen=True, kw_only=True)
class Row:
    """One stack of a table; `spacing_um` is z, y, x, None if the row has none."""

    image: Path
    spacing_um: Spacing | None


def read_stack_table(file: Path, root: Path) -> tuple[Row, ...]:
    """The rows of `file`. Their paths are relative to its folder, and may lead into DVC's cache of `root`.

    Raises DataError when it is missing, too large, not CSV, has no column `image` or no row, or leads elsewhere.
    """
    if not file.is_file():
        raise DataError("the table does not exist", file=file, remedy="correct its name")
    if file.stat().st_size > MAX_BYTES:
        raise DataError(
            f"the table has more than {MAX_BYTES:,} bytes", file=file, remedy="check that this is the right file"
        )
    rows = tuple(_rows(file, root))
    if not rows:
        raise DataError("the table has no rows", file=file, remedy="add one row per stack")
    return rows


def _rows(file: Path, root: Path) -> Iterator[Row]:
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream, strict=True, skipinitialspace=True)
            if IMAGE not in [name.strip() for name in reader.fieldnames or ()]:
                raise DataError(
                    f"the table lacks the column {IMAGE}",
                    file=file,
                    remedy="its first line must name it; columns are separated by commas",
                )
            for record in reader:
                cells = {
                    (name or "").strip(): (cell or "").strip() for name, cell in record.items() if name is not None
                }
                yield Row(image=_image(cells[IMAGE], file, root), spacing_um=_spacing(cells, file))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"the table is not CSV in UTF-8: {error}", file=file, remedy="save it as comma-separated UTF-8 text"
        ) from error


def _image(text: str, file: Path, root: Path) -> Path:
    """`text` as a path. A table may come from anywhere: it names nothing outside its folder."""
    inner = posixpath.normpath(text)
    place = file.parent / inner
    if not text or "\0" in text or posixpath.isabs(inner) or inner.split("/")[0] in ("..", "."):
        raise _outside(text, file)
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


def _spacing(cells: Mapping[str, str], file: Path) -> Spacing | None:
    given = [cells.get(name, "") for name in SPACING]
    if not any(given):
        return None
    try:
        z, y, x = map(float, given)
    except ValueError:
        z = y = x = math.nan
    if not all(0 < size < math.inf for size in (z, y, x)):
        raise DataError(
            f"the spacing of {cells[IMAGE]} is not three lengths above 0",
            file=file,
            value=", ".join(given),
            remedy="write µm with a decimal point, or leave all three cells empty",
        )
    return z, y, x
