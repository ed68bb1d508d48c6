"""What ingest left in data/raw: the table of valid stacks."""

import csv
import itertools
import math
from dataclasses import dataclass
from pathlib import Path

from stages.common.errors import DataError
from stages.common.imaging.labels.meaning import read_meaning
from stages.common.imaging.labels.rule import BINARY, LabelMeaning

TABLE = "volumes.csv"
_REPEAT = "run `dvc repro ingest` (or `dvc pull` if it ran elsewhere), do not edit this folder by hand"
_AXES = ("z", "y", "x")


@dataclass(frozen=True, kw_only=True)
class RawVolume:
    """One valid stack and its label, as they came. `content` is the checksum of the image file.

    `meaning` says what the label's values mean.
    """

    id: str
    group: str
    image: Path
    label: Path
    shape_zyx: tuple[int, int, int]
    spacing_um: tuple[float, float, float]
    content: str
    meaning: LabelMeaning = BINARY

    @property
    def voxels(self) -> int:
        """Number of voxels."""
        return math.prod(self.shape_zyx)


def read_raw(folder: Path) -> list[RawVolume]:
    """The stacks in `folder`/volumes.csv, sorted by id whatever the order of its rows.

    Raises DataError when the table is missing, empty, names an id twice or has a row that cannot be read.
    """
    file = folder / TABLE
    try:
        with file.open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
    except FileNotFoundError as error:
        raise DataError("the table of valid stacks is missing", remedy=_REPEAT, file=file) from error
    meaning = read_meaning(folder)
    volumes = sorted(
        (_read_row(row, number, file, meaning) for number, row in enumerate(rows, 2)), key=lambda row: row.id
    )
    if not volumes:
        raise DataError("no valid stack was ingested", remedy="see data/raw/validation.json for the reasons", file=file)
    for former, volume in itertools.pairwise(volumes):
        if former.id == volume.id:
            raise DataError("an id occurs twice in the table", remedy=_REPEAT, file=file, value=volume.id)
    return volumes


def _read_row(row: dict[str, str], number: int, file: Path, meaning: LabelMeaning) -> RawVolume:
    try:
        shape_z, shape_y, shape_x = (int(row[f"shape_{axis}"]) for axis in _AXES)
        spacing_z, spacing_y, spacing_x = (float(row[f"spacing_{axis}_um"]) for axis in _AXES)
        return RawVolume(
            id=row["id"],
            group=row["group"],
            image=file.parent / row["image"],
            label=file.parent / row["label"],
            shape_zyx=(shape_z, shape_y, shape_x),
            spacing_um=(spacing_z, spacing_y, spacing_x),
            content=row["image_sha256"],
            meaning=meaning,
        )
    except KeyError as error:
        raise DataError(f"the table lacks the column {error}", remedy=_REPEAT, file=file) from error
    except (ValueError, TypeError) as error:  # TypeError: a short row holds None
        raise DataError(f"line {number} of the table: {error}", remedy=_REPEAT, file=file) from error
