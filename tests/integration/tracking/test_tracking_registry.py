"""Tracking and registry against real servers: embedded SQLite with several processes, and a hosted-like MLflow 2.7."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from stages.common.errors import ServiceError
from stages.common.networks.weights import weights_sha256
from stages.common.runtime import Runtime
from stages.common.tracking.cards.card import ModelCard
from stages.common.tracking.publishing import NETWORK_KIND, network_files
from stages.common.tracking.runs import TrackedRun, open_run
from stages.common.tracking.server import connect
from tests.support.chaos import rounds
from tests.support.models.networks import card_of, package_of, random_network
from tests.support.orders import write_order
from tests.support.parts import REPOSITORY, require
from tests.support.tracking.tracked import embedded_runtime, load
from tests.support.warm import warm_python
from tests.support.warm.new_stores import BY_MLFLOW
from tests.unit.stages.common.tracking.opened import killed, made_of, points

DOUBLE = REPOSITORY.parent / "shared" / "dagshub-double"
DOUBLE_STATE = Path("/var/tmp/dagshub-double")
TOKEN = "dhp_test_token"
DOUBLE_URI = "http://127.0.0.1:5290/alice/vessels.mlflow"

FIRST_USE = {BY_MLFLOW: "1"}  # which takes MLflow seconds

WORKER = """
import sys, time
from stages.common.runtime import read_runtime
from stages.common.tracking.runs import open_run

run = open_run(read_runtime(), cell_tags={"loss": "dice_ce"}, run_name="run", system_metrics=False)
print(run.id, flush=True)
for step in range(int(sys.argv[1])):
    run.log_metrics({"loss": 1 / (step + 1), "validation_dsc": step / 100}, step)
    print(step, flush=True)
run.finish()
"""


def runtime_for(uri: str, root: Path | None, fingerprint: str) -> Runtime:
    return embedded_runtime(
        Path(),
        stage="train@dice_ce-0",
        fingerprint=fingerprint,
        tracking_uri=uri,
        artifact_root=str(root) if root else None,
    )


def start_worker(store: Path, fingerprint: str, steps: int, **variables: str) -> subprocess.Popen[str]:
    work = store.parent / fingerprint
    work.mkdir(exist_ok=True)
    environment = {
        **os.environ,
        "PYTHONPATH": str(REPOSITORY),
        "MLFLOW_TRACKING_URI": f"sqlite:///{store}/mlflow.db",
        "TMPDIR": str(work),  # the launcher gives each stage its own
        **variables,
    }
    write_order(work, stage="train@dice_ce-0", fingerprint=fingerprint, artifact_root=str(store / "artifacts"))
    argv = [warm_python(), "-c", WORKER, str(steps)]
    return subprocess.Popen(argv, env=environment, cwd=work, stdout=subprocess.PIPE, text=True)


def steps_of(run: TrackedRun, key: str) -> list[int]:
    return [step for step, _ in points(run, key)]


def test_cells_that_start_together_share_one_new_store(tmp_path: Path) -> None:
    """Several first users make one database and one experiment, and each logs into its own run."""
    workers = [start_worker(tmp_path / "mlruns", f"cell{index}", 20, **FIRST_USE) for index in range(3)]
    assert [worker.wait(timeout=100) for worker in workers] == [0, 0, 0]
    look = runtime_for(f"sqlite:///{tmp_path}/mlruns/mlflow.db", tmp_path / "mlruns" / "artifacts", "look")
    client = connect(look).client
    experiment = client.get_experiment_by_name("capillary")
    assert experiment.artifact_location == str(tmp_path / "mlruns" / "artifacts")
    finished = client.search_runs([experiment.experiment_id], "attributes.status = 'FINISHED'")
    assert len(finished) == 3
    for one in finished:
        assert [m.step for m in client.get_metric_history(one.info.run_id, "loss")] == list(range(20))


@pytest.mark.parametrize("after_s", [0.3, 0.0, 1.0][: rounds(1, by_hand=3)])
def test_a_first_user_killed_while_it_makes_the_store_leaves_none_behind(tmp_path: Path, after_s: float) -> None:
    """kill -9 between two tables: the next user makes the store, instead of finding one that cannot be used."""
    first = start_worker(tmp_path / "mlruns", "first", 1, **FIRST_USE)
    while not list((tmp_path / "mlruns").glob("*mlflow.db*")):
        assert first.poll() is None
        time.sleep(0.005)
    time.sleep(after_s)
    first.kill()
    first.wait()
    second = start_worker(tmp_path / "mlruns", "second", 1, **FIRST_USE)
    assert second.wait(timeout=100) == 0
    assert not list((tmp_path / "mlruns").glob("*.new*"))


def test_a_run_killed_and_resumed_is_one_run_without_doubled_points(tmp_path: Path) -> None:
    """kill -9 in the midst of logging, then the same command: the same run, each point once."""
    ids = set()
    for kill_after in (3, 9):
        worker = start_worker(tmp_path / "mlruns", "same", 200)
        assert worker.stdout is not None
        ids.add(next(line for line in worker.stdout if len(line) == 33))
        for _ in range(kill_after):
            worker.stdout.readline()
        os.kill(worker.pid, signal.SIGKILL)
        worker.wait()
    last = start_worker(tmp_path / "mlruns", "same", 30)
    output, _ = last.communicate(timeout=60)
    assert last.returncode == 0
    ids |= {f"{line}\n" for line in output.splitlines() if len(line) == 32}
    assert len(ids) == 1
    client = connect(runtime_for(f"sqlite:///{tmp_path}/mlruns/mlflow.db", None, "look")).client
    (made,) = client.search_runs([client.get_experiment_by_name("capillary").experiment_id])
    steps = {
        key: [point.step for point in client.get_metric_history(made.info.run_id, key)]
        for key in ("loss", "validation_dsc")
    }
    assert steps["loss"] == sorted(set(steps["loss"]))
    assert set(range(30)) <= set(steps["loss"])
    assert steps["validation_dsc"] == steps["loss"]


def up(**settings: str) -> None:
    """Start the double, or restart its proxy with other manners."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    # its output goes nowhere: the servers that it starts would hold a pipe open; a failing one may fail its own check
    reliable = "DAGSHUB_DOUBLE_FAIL" not in settings
    where = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run([DOUBLE / "up"], env={**environment, **settings}, check=reliable, timeout=400, **where)


@pytest.fixture(scope="module")
def double() -> Iterator[None]:
    """A server with the shape of a hosted repository: MLflow 2.7.1 behind a token."""
    require((DOUBLE / "up").exists(), "the local double of a hosted MLflow repository")
    was_up = (DOUBLE_STATE / "proxy.pid").exists()
    up()
    yield
    if was_up:
        up()
    else:
        subprocess.run([DOUBLE / "down"], check=True)


@pytest.fixture
def credentials(double: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a user has in .env for it."""
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "alice")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", TOKEN)


def track_and_register(loss: str, folder: Path) -> tuple[TrackedRun, ModelCard]:
    """The whole road of a training but its end: run, params, metrics, model, card."""
    runtime = replace(runtime_for(DOUBLE_URI, None, f"{loss}-{time.time_ns()}"), **records_in(folder))
    run = open_run(runtime, cell_tags={"loss": loss, "fold": "0"}, run_name=loss, system_metrics=False)
    run.log_params({"epochs": 3, "long": "x" * 600})
    for step in range(3):
        run.log_metrics({"loss": 1.0 - step, "bad": float("nan")}, step)
    model = random_network()
    card = card_of(model, loss=loss, fingerprint=runtime.fingerprint)
    run.publish(NETWORK_KIND, network_files(package_of(model), card))
    return run, card


def records_in(folder: Path) -> dict[str, Path]:
    return {"outbox": folder / "outbox", "receipts": folder / "receipts"}


def check(run: TrackedRun, card: ModelCard) -> None:
    killed(run)
    runtime = run._runtime
    cell = {"loss": card.loss, "fold": "0"}
    with open_run(runtime, cell_tags=cell, run_name="again", system_metrics=False) as again:
        again.backfill({step: {"loss": 1.0 - step} for step in range(5)})
    assert steps_of(again, "loss") == [0, 1, 2, 3, 4]
    assert made_of(again).info.status == "FINISHED"
    assert weights_sha256(load(card, connect(runtime))) == card.weights_sha256
    assert again.id == run.id


def test_an_older_hosted_server_takes_runs_and_models(credentials: None, tmp_path: Path) -> None:
    """Runs, curves, registration and loading work on MLflow 2.7 behind a token."""
    check(*track_and_register("hosted", tmp_path))


def test_credentials_in_the_address_work_as_well(
    double: None, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """user:token@ in the URI is accepted, and shown nowhere."""
    uri = DOUBLE_URI.replace("http://", f"http://alice:{TOKEN}@")
    runtime = replace(runtime_for(uri, None, "by-hand"), **records_in(tmp_path))
    run = open_run(runtime, cell_tags={}, run_name="address", system_metrics=False)
    run.log_metrics({"loss": 1.0}, 0)
    run.finish()
    stored = made_of(run)
    shown = capfd.readouterr()
    assert TOKEN not in f"{shown.out}{shown.err}{stored.data.tags}{stored.info.artifact_uri}"


def test_a_wrong_token_is_an_error_that_names_the_variables(
    double: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a server is required, a refused login ends at once, naming the variables to check."""
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "alice")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "wrong-token")
    runtime = replace(runtime_for(DOUBLE_URI, None, "x"), tracking="required", **records_in(tmp_path))
    with pytest.raises(ServiceError) as caught:
        open_run(runtime, cell_tags={}, run_name="x")
    assert "MLFLOW_TRACKING_PASSWORD" in caught.value.remedy
    assert "wrong-token" not in caught.value.report()


def test_a_continued_run_of_an_older_server_loses_its_failure(credentials: None, tmp_path: Path) -> None:
    """MLflow 2.7 deletes the reason of a failure, and a second opening finds nothing to delete."""
    runtime = replace(runtime_for(DOUBLE_URI, None, f"failed-{time.time_ns()}"), **records_in(tmp_path))
    first = open_run(runtime, cell_tags={}, run_name="failed", system_metrics=False)
    first.fail("no room on the disk")
    for _ in range(2):
        run = open_run(runtime, cell_tags={}, run_name="failed", system_metrics=False)
        killed(run)
        assert run.id == first.id
        assert "capillary.failure" not in made_of(run).data.tags


@pytest.mark.slow
def test_a_flaky_server_gets_every_point_once_and_one_version(credentials: None, tmp_path: Path) -> None:
    """With three requests in ten failing nothing is lost and nothing is doubled."""
    up(DAGSHUB_DOUBLE_FAIL="0.3")
    try:
        run, card = track_and_register("flaky", tmp_path)
        killed(run)
    finally:
        up()
    again = open_run(run._runtime, cell_tags={"loss": "flaky", "fold": "0"}, run_name="x", system_metrics=False)
    check(again, card)
    versions = connect(run._runtime).client.search_model_versions(f"name = '{card.model_name}'")
    assert sum(version.tags.get("capillary.fingerprint") == card.fingerprint for version in versions) == 1
