"""The embedded MLflow store: its folder can be written, its file is a store, and the experiment is not deleted."""

import os
import sqlite3
from collections.abc import Mapping
from pathlib import Path

from stages.common.errors import CapillaryError, DamagedError
from stages.common.preflight.check import Check, missed, passed
from stages.common.tracking.address import EMBEDDED, EXPERIMENT, VARIABLE, StoreKind, read_address, restore_command
from stages.common.tracking.database_file import refuse_damaged_database

NAME = "mlflow"
_WANTED = "can be written to"
_TIMEOUT_S = 3
_QUESTION = "select experiment_id from experiments where name = ? and lifecycle_stage = 'deleted'"


def check_address(root: Path, variables: Mapping[str, str], *, critical: bool) -> list[Check]:
    """What can be checked before any server is asked: the address is valid, and an embedded store is sound.

    A server is not checked here, but by what it answers. A relative path is taken from `root`.
    """
    uri = variables.get(VARIABLE, EMBEDDED)
    try:
        address = read_address(uri)
    except CapillaryError as error:
        return [missed(NAME, f"{error.what}: {error.value}", "an address", error.remedy, critical=critical)]
    if address.kind is not StoreKind.EMBEDDED:
        return []
    return [check_store(root / address.database_file, critical=critical)]


def check_store(file: Path, *, critical: bool) -> Check:
    """The SQLite `file`, which need not exist yet."""
    if fault := _folder_fault(file.parent) or (_file_fault(file) if file.exists() else None):
        what, remedy = fault
        return missed(NAME, f"{file} {what}", _WANTED, remedy, critical=critical)
    return passed(NAME, f"embedded store in {file.parent}", _WANTED, critical=critical)


def _folder_fault(folder: Path) -> tuple[str, str] | None:
    place = next(each for each in (folder, *folder.parents) if each.exists())
    if not place.is_dir():
        return f"cannot be made: {place} is a file", f"move {place} away"
    if not os.access(place, os.W_OK | os.X_OK):
        remedy = f"chown or chmod {place} (see ls -ld)"
        return f"cannot be written: {place} belongs to another user, or is read-only", remedy
    return None


def _file_fault(file: Path) -> tuple[str, str] | None:
    if not os.access(file, os.R_OK | os.W_OK):
        return "cannot be written", f"chown or chmod {file} (see ls -l)"
    try:
        refuse_damaged_database(file)  # as a training does
        found = _deleted(file)
    except DamagedError as error:
        return f"is damaged: {error.what.rpartition('damaged: ')[2]}", error.remedy
    except sqlite3.OperationalError as error:
        return f"is locked by another program ({error})", "end that program (fuser shows it): no run can be recorded"
    if found is not None:
        remedy = f"restore it: {restore_command(f'sqlite:///{file}', found)}"
        return f"has the experiment {EXPERIMENT} deleted", remedy
    return None


def _deleted(file: Path) -> str | None:
    """The id of the deleted experiment; None if it is alive or does not exist."""
    connection = sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True, timeout=_TIMEOUT_S)
    try:
        row = connection.execute(_QUESTION, (EXPERIMENT,)).fetchone()
    finally:
        connection.close()
    return None if row is None else str(row[0])
