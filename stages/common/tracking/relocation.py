"""The embedded store under another path than before: moved, renamed, copied, or mounted elsewhere in a container.

MLflow records absolute paths: of an experiment, each run and each version of a model. Those below the previous folder
of the database are rewritten to its present one, all of them or none. Nothing else is touched: a location in a bucket,
on another disk or behind a server means the same from everywhere.
"""

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from stages.common.errors import ServiceError
from stages.common.program.messages import get_logger
from stages.common.tracking.address import EXPERIMENT

log = get_logger(__name__)

ARTIFACTS = "artifacts"  # next to the database, where the launcher has a new store keep them
BUSY_PATIENCE_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of MLflow's schema that holds locations, in the rows that satisfy `where`."""

    table: str
    name: str
    where: str = "1"


# of MLflow 2.7 to 3.17; an older schema lacks some
COLUMNS = (
    Column(table="experiments", name="artifact_location"),
    Column(table="runs", name="artifact_uri"),
    Column(table="model_versions", name="source"),
    Column(table="model_versions", name="storage_location"),
    Column(table="logged_models", name="artifact_location"),
    Column(table="trace_tags", name="value", where="key = 'mlflow.artifactLocation'"),
)


def settle(file: Path) -> int:
    """Make the locations in the database `file` name the folder that it is in now; returns how many changed.

    Call it while no other process does. Raises ServiceError when the database cannot be read or written.
    """
    here = file.parent.resolve()
    try:
        with closing(sqlite3.connect(file, timeout=BUSY_PATIENCE_S, isolation_level=None)) as database:
            if _former_folder(database, here, file.name) is None:
                return 0
            database.execute("BEGIN IMMEDIATE")
            former = _former_folder(database, here, file.name)
            count = 0 if former is None else sum(_rewrite(database, column, former, here) for column in COLUMNS)
            database.execute("COMMIT")
    except sqlite3.Error as error:
        raise ServiceError(
            "MLflow's embedded store cannot be read and written",
            remedy="end other programs that use it (mlflow ui), free space on its disk, or restore an undamaged copy "
            "of the file",
            file=file,
            value=error,
        ) from error
    if count:
        log.info(f"the MLflow store {file.name} was in {former} and is in {here} now: {count} locations were rewritten")
    return count


def _former_folder(database: sqlite3.Connection, here: Path, name: str) -> PurePosixPath | None:
    """The folder in which the store `name` was when its experiment was made or last settled; None if it still is.

    Also None if the experiment keeps its files elsewhere on purpose: not in the folder `artifacts` of the store, or
    in one of the experiment's number, as MLflow has it by default; or in such a folder, where they are to this day.
    """
    if not _has(database, COLUMNS[0]):
        return None
    asked = database.execute(
        "SELECT experiment_id, artifact_location FROM experiments WHERE name = ?", (EXPERIMENT,)
    ).fetchone()
    if asked is None or not str(asked[1]).startswith("/"):
        return None
    location = PurePosixPath(asked[1])
    is_own = location.name in {ARTIFACTS, str(asked[0])} and location.parent != PurePosixPath(here)
    return location.parent if is_own and not _is_in_use(Path(location), here, name) else None


def _is_in_use(location: Path, here: Path, name: str) -> bool:
    """Whether `location` is there, on another disk, say: not in `here`, nor next to a store whose copy this could be.

    By looking at names alone: a stage may not list folders elsewhere.
    """
    try:
        return location.is_dir() and not (here / location.name).is_dir() and not (location.parent / name).exists()
    except PermissionError:
        return False  # in what is another user's


def _has(database: sqlite3.Connection, column: Column) -> bool:
    known = database.execute("SELECT name FROM pragma_table_info(?)", (column.table,)).fetchall()
    return (column.name,) in known


def _rewrite(database: sqlite3.Connection, column: Column, former: PurePosixPath, here: Path) -> int:
    """Rewrite one column; how many rows changed."""
    if not _has(database, column):
        return 0
    listed = f"SELECT rowid, {column.name} FROM {column.table} WHERE {column.where}"  # noqa: S608 - names of this file
    changed = [
        (new, row) for row, old in database.execute(listed).fetchall() if (new := moved(old, former, here)) != old
    ]
    database.executemany(f"UPDATE {column.table} SET {column.name} = ? WHERE rowid = ?", changed)  # noqa: S608
    return len(changed)


def moved(location: str | None, former: PurePosixPath, here: Path) -> str | None:
    """`location`, a path or a file: URI, under `here` where it is under `former`; anything else as it is."""
    if location is None:
        return None
    for start in ("", "file://"):
        old = start + (quote(str(former)) if start else str(former))
        new = start + (quote(str(here)) if start else str(here))
        if location == old or location.startswith(f"{old}/"):
            return new + location.removeprefix(old)
    return location
