"""The file of the embedded MLflow store, looked at before MLflow opens it: MLflow explains no damage."""

import shlex
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from stages.common.errors import DamagedError

_TABLES = {"experiments", "runs", "metrics", "params", "tags", "registered_models", "model_versions"}
# another process writes, or this one may not: nothing is wrong with the file, and MLflow says what is
_NO_DAMAGE = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY}
_TIMEOUT_S = 5


def refuse_damaged_database(file: Path) -> None:
    """Raise DamagedError when `file` is there and is not a whole SQLite database with MLflow's tables.

    Reads all of it, 5 ms per MB. Changes nothing but what SQLite itself undoes after a killed writer.
    """
    if file.is_file() and (fault := _find_fault(file)):
        old, new = shlex.quote(str(file)), shlex.quote(f"{file}.damaged")
        raise DamagedError(
            f"MLflow's embedded store is damaged: the file {fault}",
            file=file,
            remedy=f"restore a copy of it. Without one: `mv {old} {new}`, then repeat: a new store begins. "
            "The runs and networks of the old one are not in it: `dvc repro -f -s train` trains them again",
        )


def _find_fault(file: Path) -> str | None:
    if file.stat().st_size == 0:
        return "is empty"
    try:
        # for writing, too: SQLite must be able to undo what a killed process began
        with closing(sqlite3.connect(f"file:{quote(str(file))}?mode=rw", uri=True, timeout=_TIMEOUT_S)) as database:
            ((first,), *_) = database.execute("PRAGMA quick_check(1)").fetchall()
            tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except sqlite3.Error as error:
        if (error.sqlite_errorcode & 0xFF) in _NO_DAMAGE:
            return None
        return f"cannot be read as a SQLite database ({error})"
    if first != "ok":
        return f"is not whole ({' '.join(str(first).split())})"
    if missing := sorted(_TABLES - tables):
        return f"lacks MLflow's tables {', '.join(missing)}"
    return None
