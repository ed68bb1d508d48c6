"""The embedded MLflow store: its folder, its file and its experiment."""

import os
import sqlite3
from pathlib import Path

import pytest

from stages.common.preflight.check import Check, Status
from stages.common.preflight.checks.embedded_store import check_address


def checked(root: Path, **variables: str) -> Check:
    (check,) = check_address(root, variables, critical=True)
    return check


def make_store(root: Path, stage: str) -> None:
    """What MLflow's tables say of experiments."""
    (root / "mlruns").mkdir()
    with sqlite3.connect(root / "mlruns" / "mlflow.db") as database:
        database.execute("create table experiments (experiment_id integer, name text, lifecycle_stage text)")
        for name in ("runs", "metrics", "params", "tags", "registered_models", "model_versions"):
            database.execute(f"create table {name} (id integer)")
        database.execute("insert into experiments values (3, 'capillary', ?)", (stage,))
    database.close()


def test_a_store_that_is_not_there_yet_or_is_sound_passes(tmp_path: Path) -> None:
    """A training makes it."""
    assert checked(tmp_path).status is Status.PASS
    make_store(tmp_path, "active")
    assert checked(tmp_path).status is Status.PASS
    assert checked(tmp_path, MLFLOW_TRACKING_URI=f"sqlite:///{tmp_path}/mlruns/mlflow.db").status is Status.PASS


def test_a_project_may_lie_in_a_folder_with_a_blank_in_its_name(tmp_path: Path) -> None:
    """The launcher gives stages the whole path of the store."""
    root = tmp_path / "my project"
    root.mkdir()
    make_store(root, "deleted")
    check = checked(root, MLFLOW_TRACKING_URI=f"sqlite:///{root}/mlruns/mlflow.db")
    assert "experiment capillary deleted" in check.value
    assert f"MLFLOW_TRACKING_URI='sqlite:///{root}/mlruns/mlflow.db' " in check.remedy


def test_a_deleted_experiment_is_named_with_the_command_that_restores_it(tmp_path: Path) -> None:
    """MLflow refuses runs in it."""
    make_store(tmp_path, "deleted")
    check = checked(tmp_path)
    assert check.status is Status.FAIL
    assert "experiment capillary deleted" in check.value
    assert (
        f"sqlite:///{tmp_path}/mlruns/mlflow.db .venv/bin/mlflow experiments restore --experiment-id 3" in check.remedy
    )


def test_a_file_that_is_no_store_is_named(tmp_path: Path) -> None:
    """Damaged, or another program's: what a training would say."""
    (tmp_path / "mlruns").mkdir()
    file = tmp_path / "mlruns" / "mlflow.db"
    file.write_text("no database at all, but some text that is long enough to be read as a header of one" * 20)
    check = checked(tmp_path)
    assert f"{file} is damaged: the file cannot be read as a SQLite database" in check.value
    assert f"mv {file}" in check.remedy
    file.write_bytes(b"")
    assert "is empty" in checked(tmp_path).value
    file.unlink()
    with sqlite3.connect(file) as database:
        database.execute("create table experiments (name text)")
    database.close()
    assert "lacks MLflow's tables" in checked(tmp_path).value


def test_a_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    """It cannot be made."""
    (tmp_path / "mlruns").write_text("x")
    assert "is a file" in checked(tmp_path).value


@pytest.mark.parametrize("made", [False, True])
def test_a_store_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: bool) -> None:
    """The folder, or the file in it: another user's, or read-only."""
    if made:
        make_store(tmp_path, "active")
    refused = tmp_path / "mlruns" / "mlflow.db" if made else tmp_path
    monkeypatch.setattr(os, "access", lambda path, _mode: Path(path) != refused)
    check = checked(tmp_path)
    assert check.status is Status.FAIL
    assert "cannot be written" in check.value
    assert "chown or chmod" in check.remedy


def test_an_address_that_is_none_is_named_and_a_server_is_left_to_its_answer(tmp_path: Path) -> None:
    """The same reading as the launcher's."""
    check = checked(tmp_path, MLFLOW_TRACKING_URI="localhost:5000")
    assert (check.name, check.status) == ("mlflow", Status.FAIL)
    assert check.remedy == "write http://localhost:5000 (or https://)"
    assert check_address(tmp_path, {"MLFLOW_TRACKING_URI": "http://h:1"}, critical=True) == []
