"""The embedded store's file: whole, it is opened; damaged, it is named before MLflow makes a traceback of it."""

import os
import random
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from stages.common.errors import DamagedError, ExitCode
from stages.common.tracking.database_file import refuse_damaged_database
from stages.common.tracking.server import connect
from tests.support.tracking.tracked import embedded_runtime
from tests.unit.stages.common.tracking.opened import MakeRuntime


@pytest.fixture
def file(make_runtime: MakeRuntime, store: Path, tmp_path: Path) -> Path:
    """A copy of a store that MLflow made."""
    connect(make_runtime())
    return Path(shutil.copy(store / "mlflow.db", tmp_path / "mlflow.db"))


def _cut(share: float) -> Callable[[Path], None]:
    return lambda file: os.truncate(file, int(file.stat().st_size * share))


def _garble(start: float, end: float) -> Callable[[Path], None]:
    def garble(file: Path) -> None:
        content = bytearray(file.read_bytes())
        low, high = int(start * len(content)), int(end * len(content))
        content[low:high] = random.Random(0).randbytes(high - low)
        file.write_bytes(content)

    return garble


def _other_program(file: Path) -> None:
    file.unlink()
    with closing(sqlite3.connect(file)) as database:
        database.execute("CREATE TABLE bookmarks (url TEXT)")


DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "empty": (_cut(0), "is empty"),
    "cut in its first page": (_cut(0.001), "cannot be read as a SQLite database|is not whole"),
    "cut in half": (_cut(0.5), "cannot be read as a SQLite database|is not whole"),
    "its end cut": (_cut(0.99), "cannot be read as a SQLite database|is not whole"),
    "its head garbled": (_garble(0, 0.001), "cannot be read as a SQLite database"),
    "its middle garbled": (_garble(0.4, 0.6), "cannot be read as a SQLite database|is not whole"),
    "text": (lambda file: file.write_text("version https://git-lfs.github.com/spec/v1\n"), "cannot be read"),
    "another program's": (_other_program, "lacks MLflow's tables experiments"),
}


@pytest.mark.parametrize(("damage", "says"), DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_file_is_named_and_left_as_it_is(file: Path, damage: Callable[[Path], None], says: str) -> None:
    """With what is wrong and what to do; the file may still be repaired, so nothing touches it."""
    damage(file)
    before = file.read_bytes()
    with pytest.raises(DamagedError, match=says) as refused:
        connect(embedded_runtime(file.parent))
    assert refused.value.file == file
    assert f"mv {file} {file}.damaged" in refused.value.remedy
    assert refused.value.code == ExitCode.DATA
    assert file.read_bytes() == before


def test_a_file_that_another_process_writes_is_not_called_damaged(file: Path) -> None:
    """Nor is one that a killed process left in mid-transaction: SQLite undoes that."""
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("UPDATE experiments SET name = name || 'x'")
        refuse_damaged_database(file)
        other.execute("ROLLBACK")


def test_no_file_and_a_new_store_are_whole(file: Path, tmp_path: Path) -> None:
    """Nothing to look at before the first run; after it, what MLflow made."""
    refuse_damaged_database(tmp_path / "none.db")
    refuse_damaged_database(file)
