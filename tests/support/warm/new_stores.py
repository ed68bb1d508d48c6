"""New MLflow stores at once: MLflow makes the tables of each by all its migrations, which takes three seconds."""

import contextlib
import os
import sqlite3
import tempfile
from pathlib import Path
from typing import Any

BY_MLFLOW = "CAPILLARY_TEST_STORE"  # set where what a first use goes through is what is tested


def copy_tables(databases: Any) -> None:
    """Let `databases` (mlflow.store.db.utils) make tables once, now, and copy them into every new SQLite file.

    They are kept in memory: a guarded stage may read no file of the tests'.
    """
    make, tables = databases._initialize_tables, _tables(databases)

    def make_or_copy(engine: Any) -> None:
        if BY_MLFLOW in os.environ or not _is_new(engine):
            make(engine)
            return
        with contextlib.closing(sqlite3.connect(engine.url.database)) as target:
            tables.backup(target)

    databases._initialize_tables = make_or_copy


def _is_new(engine: Any) -> bool:
    """Whether it is a SQLite file without any table."""
    if engine.dialect.name != "sqlite" or not engine.url.database:
        return False
    with contextlib.closing(sqlite3.connect(engine.url.database)) as database:
        return database.execute("SELECT 1 FROM sqlite_master").fetchone() is None


def _tables(databases: Any) -> sqlite3.Connection:
    """Those that MLflow makes, in a process of their own: the libraries that make them leave nothing in this one."""
    tables = sqlite3.connect(":memory:", check_same_thread=False)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "store.db")
        child = os.fork()
        if child == 0:
            databases._initialize_tables(databases.create_sqlalchemy_engine(f"sqlite:///{file}"))
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        with contextlib.closing(sqlite3.connect(file)) as made:
            made.backup(tables)
    return tables
