"""The embedded store under another path: what is rewritten, what is left alone, and that a copy is its own store."""

import hashlib
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path, PurePosixPath

import pytest
import torch

from stages.common.errors import ServiceError
from stages.common.networks.weights import weights_sha256
from stages.common.tracking.registry import register_model
from stages.common.tracking.relocation import COLUMNS, moved, settle
from stages.common.tracking.server import connect
from tests.support.models.networks import card_of, package_of, random_network
from tests.support.tracking.tracked import embedded_runtime, load, plain_run
from tests.unit.stages.common.tracking.opened import MakeRuntime

OLD = "/home/u/old project/mlruns"
SCHEMA = """
CREATE TABLE experiments (experiment_id INTEGER PRIMARY KEY, name TEXT, artifact_location TEXT);
CREATE TABLE runs (run_uuid TEXT PRIMARY KEY, artifact_uri TEXT);
CREATE TABLE model_versions (
    name TEXT, version INTEGER, source TEXT, storage_location TEXT, PRIMARY KEY (name, version)
);
CREATE TABLE logged_models (model_id TEXT PRIMARY KEY, artifact_location TEXT);
CREATE TABLE trace_tags (key TEXT, value TEXT, request_id TEXT, PRIMARY KEY (key, request_id));
"""


def ask(file: Path, question: str) -> list[tuple[str, ...]]:
    with closing(sqlite3.connect(file)) as database, database:
        return database.execute(question).fetchall()


def locations(file: Path) -> dict[str, list[str]]:
    """table.column → its values."""
    return {
        f"{one.table}.{one.name}": [
            row[0] for row in ask(file, f"SELECT {one.name} FROM {one.table} WHERE {one.where}")
        ]
        for one in COLUMNS
    }


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A database with MLflow's tables of locations, which was in the folder OLD."""
    file = tmp_path / "neü and moved" / "mlflow.db"
    file.parent.mkdir()
    run = f"{OLD}/artifacts/r/artifacts"
    with closing(sqlite3.connect(file)) as database, database:
        database.executescript(SCHEMA)
        database.execute("INSERT INTO experiments VALUES (1, 'capillary', ?)", (f"{OLD}/artifacts",))
        database.execute("INSERT INTO runs VALUES ('r', ?)", (run,))
        database.execute("INSERT INTO model_versions VALUES ('m', 1, ?, ?)", (f"{run}/model", f"{run}/model"))
        database.execute("INSERT INTO logged_models VALUES ('l', ?)", (f"{OLD}/artifacts/models/l",))
        database.execute("INSERT INTO trace_tags VALUES ('mlflow.artifactLocation', ?, 't')", (f"{OLD}/artifacts/t",))
        database.execute("INSERT INTO trace_tags VALUES ('note', ?, 't')", (f"{OLD}/artifacts/t",))
    return file


def test_every_location_in_the_former_folder_names_the_one_of_now(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Once; the user is told from where to where. What only looks like a location, a tag, stays as it is."""
    assert settle(file) == 6
    told = " ".join(capsys.readouterr().out.split())
    assert OLD in told
    assert "6 locations" in told
    run = f"{file.parent}/artifacts/r/artifacts"
    assert locations(file) == {
        "experiments.artifact_location": [f"{file.parent}/artifacts"],
        "runs.artifact_uri": [run],
        "model_versions.source": [f"{run}/model"],
        "model_versions.storage_location": [f"{run}/model"],
        "logged_models.artifact_location": [f"{file.parent}/artifacts/models/l"],
        "trace_tags.value": [f"{file.parent}/artifacts/t"],
    }
    assert ask(file, "SELECT value FROM trace_tags WHERE key = 'note'") == [(f"{OLD}/artifacts/t",)]
    assert settle(file) == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "elsewhere",
    [
        "s3://bucket/artifacts/r",
        "mlflow-artifacts:/1/r/artifacts",
        "/data/artifacts/r/artifacts",
        f"{OLD}-2/artifacts/r",
        f"/mnt{OLD}/artifacts/r",
        "mlruns/artifacts/r",
        None,
    ],
)
def test_what_was_not_in_the_former_folder_is_not_touched(file: Path, elsewhere: str | None) -> None:
    """A bucket, a server, another disk, a folder whose name begins alike."""
    with closing(sqlite3.connect(file)) as database, database:
        database.execute("INSERT INTO runs VALUES ('other', ?)", (elsewhere,))
    settle(file)
    assert ask(file, "SELECT artifact_uri FROM runs WHERE run_uuid = 'other'") == [(elsewhere,)]


@pytest.mark.parametrize("kept", ["s3://bucket/artifacts", "/data/kept on purpose", "mlruns/artifacts"])
def test_an_experiment_that_keeps_its_files_elsewhere_on_purpose_moves_nothing(file: Path, kept: str) -> None:
    """What its own folder was is not known then."""
    with closing(sqlite3.connect(file)) as database, database:
        database.execute("UPDATE experiments SET artifact_location = ?", (kept,))
    before = locations(file)
    assert settle(file) == 0
    assert locations(file) == before


@pytest.mark.parametrize(
    ("further", "changed"),
    [((), 0), (("large disk/mlflow.db",), 1), (("neü and moved/artifacts/r/model",), 1)],
    ids=["elsewhere", "a copy", "moved, and something was left"],
)
def test_a_folder_of_artifacts_on_another_disk_stays_where_it_is(
    file: Path, tmp_path: Path, further: tuple[str, ...], changed: int
) -> None:
    """Only where it is there and not here; with a store next to it, this one is a copy of that."""
    kept = tmp_path / "large disk" / "artifacts"
    for made in (kept / "r" / "model", *(tmp_path / name for name in further)):
        made.parent.mkdir(parents=True, exist_ok=True)
        made.touch()
    with closing(sqlite3.connect(file)) as database, database:
        database.execute("UPDATE experiments SET artifact_location = ?", (str(kept),))
    assert settle(file) == changed
    assert (ask(file, "SELECT artifact_location FROM experiments") == [(str(kept),)]) == (not changed)


def test_an_older_schema_has_fewer_tables(file: Path) -> None:
    """What is there is rewritten; a database without any of them is left alone."""
    with closing(sqlite3.connect(file)) as database, database:
        database.executescript("DROP TABLE logged_models; DROP TABLE trace_tags;")
        database.execute("ALTER TABLE model_versions DROP COLUMN storage_location")
    assert settle(file) == 3
    empty = file.with_name("empty.db")
    empty.touch()
    assert settle(empty) == 0


def test_a_failure_in_the_middle_changes_nothing(file: Path) -> None:
    """All locations or none: a store that is half moved would be no store."""
    with closing(sqlite3.connect(file)) as database, database:
        database.execute("CREATE TRIGGER full BEFORE UPDATE ON logged_models BEGIN SELECT RAISE(ABORT, 'disk'); END")
    before = locations(file)
    with pytest.raises(ServiceError, match="cannot be read and written") as caught:
        settle(file)
    assert "disk" in str(caught.value.value)
    assert locations(file) == before


def test_a_link_to_the_store_is_no_other_place(file: Path, tmp_path: Path) -> None:
    """Two projects may share one folder of runs through links; its locations do not go back and forth."""
    settle(file)
    (tmp_path / "link").symlink_to(file.parent)
    assert settle(tmp_path / "link" / "mlflow.db") == 0


def test_a_file_uri_moves_too() -> None:
    """With its own spelling of spaces and umlauts."""
    former, here = PurePosixPath("/a b/mlruns"), Path("/ü/mlruns")
    assert moved("file:///a%20b/mlruns/artifacts/x", former, here) == "file:///%C3%BC/mlruns/artifacts/x"


def contents(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture
def trained(store: Path, make_runtime: MakeRuntime) -> torch.nn.Module:
    """A network that is registered in the shared store under the loss `moving`."""
    run = plain_run(make_runtime(state_dir=store))
    model = random_network(5)
    register_model(package_of(model), server=run.server, run_id=run.run_id, loss="moving", fold=0, fingerprint="moving")
    return model


@pytest.mark.parametrize("way", ["copied", "moved"])
def test_a_project_that_was_copied_or_moved_predicts_and_trains_on(
    store: Path, trained: torch.nn.Module, tmp_path: Path, way: str
) -> None:
    """Its old models come back, a new one is registered next to its own files, and the original is not touched."""
    model = trained
    place = tmp_path / "Gefäße 2" / "mlruns"
    shutil.copytree(store, place)
    if way == "moved":
        original, place = place, tmp_path / "renamed" / "mlruns"
        connect(embedded_runtime(original))  # it was used there
        place.parent.mkdir()
        original.rename(place)
    before = contents(store)
    card = card_of(model, loss="moving")
    runtime = embedded_runtime(place, stage="train@moving-1", fingerprint=f"{way} after")
    run = plain_run(runtime)
    assert weights_sha256(load(card, run.server)) == weights_sha256(model)
    package = package_of(random_network(25))
    name, new = register_model(
        package, server=run.server, run_id=run.run_id, loss="moving", fold=1, fingerprint=f"{way} after"
    )
    assert (place / "artifacts" / run.run_id / "artifacts" / "model" / "MLmodel").is_file()
    source = run.server.client.get_model_version(name, new).source
    assert source == f"{place}/artifacts/{run.run_id}/artifacts/model"
    assert contents(store) == before


@pytest.fixture
def seen_from_a_container(store: Path) -> Iterator[None]:
    """The shared store as a container leaves it, in which its folder has another path."""
    seen = Path("/workspace/mlruns")
    with closing(sqlite3.connect(store / "mlflow.db")) as database, database:
        for column in ("experiments.artifact_location", "runs.artifact_uri", "model_versions.source"):
            table, name = column.split(".")
            database.execute(f"UPDATE {table} SET {name} = replace({name}, ?, ?)", (os.fspath(store), os.fspath(seen)))
    yield
    connect(embedded_runtime(store))


def test_a_training_that_goes_on_while_a_container_uses_the_store_is_registered(
    store: Path, make_runtime: MakeRuntime, request: pytest.FixtureRequest
) -> None:
    """Each side rewrites the locations before it moves files, not only when it begins."""
    run = plain_run(make_runtime(state_dir=store))
    request.getfixturevalue("seen_from_a_container")
    package = package_of(random_network(125))
    register_model(package, server=run.server, run_id=run.run_id, loss="moving", fold=2, fingerprint="in a container")
    assert (store / "artifacts" / run.run_id / "artifacts" / "model" / "MLmodel").is_file()
