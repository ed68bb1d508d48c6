"""What preprocess hands to train and evaluate: arrays that memory-map, a manifest that lists them, and the folds.

data/processed/<id>/image.npy      float32, zyx, normalised
data/processed/<id>/label.npy      uint8 {0, 1}, zyx
data/processed/<id>/skeleton.npy   uint8 {0, 1}, zyx, centreline of the label
data/processed/<id>/native_label.npy   uint8 {0, 1}, zyx, the label as it came; only where the stack was resampled
data/processed/<id>/labelled.npy   uint8 {0, 1}, zyx, 0: nobody labelled the voxel, and its label is 0; only where there
                                   is such a voxel. native_labelled.npy is the same on the grid of native_label.npy
data/processed/manifest.parquet    one row per volume
data/processed/splits.json         {"folds": [{"train": [ids], "val": [ids]}, ...]}, the truth about who trains where
data/processed/recipe.json         how the images were normalised and resampled (stages/common/imaging/recipe.py)
"""

import io
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
from numpy.typing import NDArray

from stages.common.atomic import atomic_write
from stages.common.errors import DataError
from stages.common.splits import SPLITS, read_splits

MANIFEST = "manifest.parquet"
ALWAYS_TRAINING = -1
HELD_OUT = -2  # in no fold, neither trained on nor validated: measured once everything is chosen

_COLUMNS = pyarrow.schema(
    [
        ("id", pyarrow.string()),
        ("group", pyarrow.string()),
        *[(f"shape_{axis}", pyarrow.int64()) for axis in "zyx"],
        *[(f"spacing_{axis}_um", pyarrow.float64()) for axis in "zyx"],
        *[(f"native_shape_{axis}", pyarrow.int64()) for axis in "zyx"],
        *[(f"native_spacing_{axis}_um", pyarrow.float64()) for axis in "zyx"],
        *[(f"{array}_sha256", pyarrow.string()) for array in ("image", "label", "skeleton", "native_label")],
        ("foreground_share", pyarrow.float64()),
        ("fold", pyarrow.int64()),
        ("labelled_share", pyarrow.float64()),
        ("labelled_sha256", pyarrow.string()),
        ("native_labelled_sha256", pyarrow.string()),
    ]
)
# an older version wrote none of these: every voxel was labelled
_LATER_COLUMNS = {"labelled_share", "labelled_sha256", "native_labelled_sha256"}
_REPEAT = "run `dvc repro preprocess` (or `dvc pull` if it ran elsewhere), do not edit this folder by hand"


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Voxels and their spacing (µm), both z, y, x."""

    shape_zyx: tuple[int, int, int]
    spacing_um: tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class Volume:
    """One preprocessed stack. `fold` is the one in which it is validated, ALWAYS_TRAINING (-1) where in none, and
    HELD_OUT (-2) where no fold sees it.

    `native` is the grid on which the stack came where preprocess resampled it, else None. `foreground_share` is of the
    labelled voxels, `labelled_share` of all.
    """

    id: str
    group: str
    shape_zyx: tuple[int, int, int]
    spacing_um: tuple[float, float, float]
    foreground_share: float
    fold: int
    folder: Path
    native: Grid | None = None
    labelled_share: float = 1.0

    @property
    def grid(self) -> Grid:
        """The grid of the arrays."""
        return Grid(shape_zyx=self.shape_zyx, spacing_um=self.spacing_um)

    def image(self) -> NDArray[np.float32]:
        """The normalised image, zyx, read-only and memory-mapped. Raises DataError when the file is not as listed."""
        return self._open("image", np.float32, self.grid)

    def label(self) -> NDArray[np.uint8]:
        """The label {0, 1}, zyx, read-only and memory-mapped. Raises DataError when the file is not as listed."""
        return self._open("label", np.uint8, self.grid)

    def skeleton(self) -> NDArray[np.uint8]:
        """The label's centreline {0, 1}, zyx, read-only and memory-mapped. Raises DataError as the others."""
        return self._open("skeleton", np.uint8, self.grid)

    def native_label(self) -> NDArray[np.uint8]:
        """The label {0, 1} on the grid on which it came, zyx. Raises DataError as the others."""
        return self.label() if self.native is None else self._open("native_label", np.uint8, self.native)

    def labelled(self) -> NDArray[np.uint8] | None:
        """Which voxels somebody labelled {0, 1}, as `label`; None if all are. Raises DataError as the others."""
        return self._open("labelled", np.uint8, self.grid) if self.is_partial else None

    def native_labelled(self) -> NDArray[np.uint8] | None:
        """As `labelled`, on the grid on which the label came. Raises DataError as the others."""
        if self.native is None or not self.is_partial:
            return self.labelled()
        return self._open("native_labelled", np.uint8, self.native)

    @property
    def is_held_out(self) -> bool:
        """Whether no fold sees it."""
        return self.fold == HELD_OUT

    @property
    def is_partial(self) -> bool:
        """Whether some voxels were labelled by nobody."""
        return self.labelled_share < 1

    def _open(self, name: str, dtype: type[Any], grid: Grid) -> NDArray[Any]:
        file = self.folder / f"{name}.npy"
        try:
            array: NDArray[Any] = np.load(file, mmap_mode="r", allow_pickle=False)
        except (FileNotFoundError, ValueError, EOFError) as error:
            raise DataError(f"volume {self.id}: {name}.npy: {error}", remedy=_REPEAT, file=file) from error
        if array.shape != grid.shape_zyx or array.dtype != dtype:
            raise DataError(
                f"volume {self.id}: {name}.npy differs from the array that {MANIFEST} lists",
                remedy=_REPEAT,
                file=file,
                value=f"{array.dtype} {array.shape} instead of {np.dtype(dtype)} {grid.shape_zyx}",
            )
        return array


@dataclass(frozen=True, kw_only=True)
class Checksums:
    """SHA-256 of a volume's .npy files, as `sha256sum` prints them; "" for a file that the volume does not have."""

    image: str
    label: str
    skeleton: str
    native_label: str = ""
    labelled: str = ""
    native_labelled: str = ""


def write_manifest(folder: Path, rows: Iterable[tuple[Volume, Checksums]]) -> None:
    """Write `folder`/manifest.parquet, sorted by id; equal rows give equal bytes."""
    records = [_to_record(volume, checksums) for volume, checksums in sorted(rows, key=lambda row: row[0].id)]
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(records, schema=_COLUMNS), buffer)
    with atomic_write(folder / MANIFEST) as stream:
        stream.write(buffer.getbuffer())


def read_manifest(folder: Path) -> list[Volume]:
    """The volumes that `folder` holds, sorted by id. Raises DataError when a file is missing or not as listed."""
    file = folder / MANIFEST
    try:
        table = pyarrow.parquet.read_table(file)
    except (FileNotFoundError, pyarrow.ArrowInvalid) as error:
        raise DataError(f"cannot read the manifest of the volumes: {error}", remedy=_REPEAT, file=file) from error
    if missing := set(_COLUMNS.names) - _LATER_COLUMNS - set(table.column_names):
        raise DataError(f"{MANIFEST} lacks columns", remedy=_REPEAT, file=file, value=", ".join(sorted(missing)))
    volumes = sorted((_from_record(record, folder) for record in table.to_pylist()), key=lambda volume: volume.id)
    ids = [volume.id for volume in volumes]
    if not ids or len(set(ids)) != len(ids):
        raise DataError(f"{MANIFEST} is empty or lists a volume twice", remedy=_REPEAT, file=file, value=ids)
    for volume in volumes:
        # headers only: a missing or foreign file is refused here
        _ = volume.image(), volume.label(), volume.skeleton(), volume.native_label()
        _ = volume.labelled(), volume.native_labelled()
    return volumes


def fold_split(folder: Path, fold: int) -> tuple[list[Volume], list[Volume]]:
    """(train, validation) volumes of one fold, each sorted by id, as `folder`/splits.json says.

    Raises DataError when the fold does not exist or splits.json names a volume that the manifest does not.
    """
    volumes = {volume.id: volume for volume in read_manifest(folder)}
    file = folder / SPLITS
    folds = read_splits(file)
    if not 0 <= fold < len(folds):
        raise DataError(
            f"fold {fold} does not exist: {SPLITS} holds {len(folds)}, counted from 0",
            remedy=f"keep training.folds within 0..{len(folds) - 1}, or raise preprocess.num_folds",
            file=file,
            value=fold,
        )
    if unknown := {*folds[fold].train, *folds[fold].val} - volumes.keys():
        raise DataError(f"{SPLITS} names volumes that {MANIFEST} does not", remedy=_REPEAT, file=file, value=unknown)
    return [volumes[name] for name in folds[fold].train], [volumes[name] for name in folds[fold].val]


_FACTS = ("id", "group", "foreground_share", "fold", "labelled_share")


def _to_record(volume: Volume, checksums: Checksums) -> dict[str, object]:
    record: dict[str, object] = {name: getattr(volume, name) for name in _FACTS}
    record |= _grid_record(volume.grid, "") | _grid_record(volume.native or volume.grid, "native_")
    record |= {f"{array}_sha256": checksum for array, checksum in asdict(checksums).items()}
    return record


def _grid_record(grid: Grid, prefix: str) -> dict[str, object]:
    sizes = {f"{prefix}shape_{axis}": size for axis, size in zip("zyx", grid.shape_zyx, strict=True)}
    return sizes | {f"{prefix}spacing_{axis}_um": size for axis, size in zip("zyx", grid.spacing_um, strict=True)}


def _from_record(record: dict[str, Any], folder: Path) -> Volume:
    grid, native = _grid(record, ""), _grid(record, "native_")
    return Volume(
        id=record["id"],
        group=record["group"],
        shape_zyx=grid.shape_zyx,
        spacing_um=grid.spacing_um,
        foreground_share=record["foreground_share"],
        fold=record["fold"],
        folder=folder / record["id"],
        native=None if native == grid else native,
        labelled_share=record.get("labelled_share", 1.0),
    )


def _grid(record: dict[str, Any], prefix: str) -> Grid:
    z, y, x = (record[f"{prefix}shape_{axis}"] for axis in "zyx")
    spacing_z, spacing_y, spacing_x = (record[f"{prefix}spacing_{axis}_um"] for axis in "zyx")
    return Grid(shape_zyx=(z, y, x), spacing_um=(spacing_z, spacing_y, spacing_x))
