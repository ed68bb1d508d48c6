"""The whole pipeline in sibling containers of a real daemon: the same results as plain processes give."""

import filecmp
import os
import shutil
import time
from pathlib import Path

import pytest

from tests.support.clone import TINY, Clone, finished_clone
from tests.support.docker.containers import client

CONTAINERS = {"CAPILLARY_EXECUTOR": "docker"}
OUTS = ("data/raw", "data/processed", "metrics")
START_S = 300


@pytest.fixture(scope="module")
def by_processes(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    return finished_clone(tmp_path_factory, tmp_path_factory.mktemp("processes") / "clone")


@pytest.fixture(scope="module")
def by_containers(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    client()
    clone = Clone(tmp_path_factory.mktemp("containers") / "clone")
    clone.set_params(TINY)
    done = clone.run("dvc", "repro", **CONTAINERS)
    assert clone.ran(done.stdout) == ["ingest", "preprocess", "train@dice_ce-0", "evaluate"]
    return clone


def differing(one: Path, other: Path) -> list[str]:
    """Relative paths of files that are missing in `other` or hold other bytes."""
    files = [path.relative_to(one) for path in one.rglob("*") if path.is_file()]
    assert files
    same, *others = filecmp.cmpfiles(one, other, [str(file) for file in files], shallow=False)
    assert len(same) + sum(map(len, others)) == len(files)
    return [name for names in others for name in names]


@pytest.mark.parametrize("out", OUTS)
def test_containers_and_processes_give_the_same_bits(by_processes: Clone, by_containers: Clone, out: str) -> None:
    """On one machine with one number of threads: data, learning curves, per-volume table, metrics."""
    assert differing(by_processes.root / out, by_containers.root / out) == []


def test_containers_and_processes_train_the_same_weights(by_processes: Clone, by_containers: Clone) -> None:
    """Bit for bit, as the checksum on the model cards says."""
    assert by_containers.card()["weights_sha256"] == by_processes.card()["weights_sha256"]


def test_a_prediction_in_a_container_is_that_of_a_process(
    by_processes: Clone, by_containers: Clone, tmp_path: Path
) -> None:
    """`capillary predict` in evaluate's image: the same bytes, next to a stack outside the project."""
    shutil.copy(by_containers.root / "samples/phantom/images/phantom_01.tif", tmp_path / "mouse 1.tif")
    wished = ("--spacing-um", "2,1,1", "--probability", "--picture")
    for clone, folder, variables in ((by_processes, "processes", {}), (by_containers, "containers", CONTAINERS)):
        clone.run("capillary", "predict", f"{tmp_path}/mouse 1.tif", f"{tmp_path}/{folder}/s.tif", *wished, **variables)
    assert {file.name for file in (tmp_path / "containers").iterdir()} == {"s.tif", "s_probability.tif", "s.png"}
    assert differing(tmp_path / "processes", tmp_path / "containers") == []
    assert {file.lstat().st_uid for file in (tmp_path / "containers").iterdir()} == {os.geteuid()}


def test_nothing_reruns_whichever_way_it_ran(by_containers: Clone) -> None:
    """What containers made is up to date for processes, too: the executor is not part of dvc.lock."""
    for variables in (CONTAINERS, {}):
        done = by_containers.run("dvc", "repro", **variables)
        assert by_containers.ran(done.stdout) == []
        assert "up to date" in done.stdout


def test_the_gate_in_a_container_stops_a_training_that_cannot_end(by_containers: Clone) -> None:
    """The previous card is put back, and with the previous params nothing is stale."""
    card, config = by_containers.card(), by_containers.root / "configs/preflight.yaml"
    config.write_text(config.read_text().replace("min_available_gb: 1\n", "min_available_gb: 1000000\n"))
    by_containers.set_params({"training.seed": "7"})
    done = by_containers.run("dvc", "repro", check=False, **CONTAINERS)
    assert "fail ram: " in done.stdout
    assert "capillary stage preflight, exited with 9" in done.stderr
    assert by_containers.card() == card
    by_containers.set_params({"training.seed": "2026"})
    assert by_containers.ran(by_containers.run("dvc", "repro", **CONTAINERS).stdout) == []
    by_containers.run("git", "checkout", "-q", "configs")


def test_everything_belongs_to_the_caller_and_no_container_is_left(by_containers: Clone) -> None:
    """Outs, the MLflow store, resume state, logs; stopped containers count as left."""
    owners = {path.lstat().st_uid for path in by_containers.root.rglob("*")}
    assert owners == {os.geteuid()}
    label = f"capillary.project={by_containers.root}"
    assert client().api.containers(all=True, filters={"label": label}) == []
    assert list((by_containers.root / ".capillary" / "sandbox").iterdir()) == []


def test_a_training_whose_container_is_killed_resumes_to_the_same_weights(
    by_processes: Clone, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """`docker kill` in the middle; the rerun continues from the checkpoint, in the same MLflow run."""
    clone = finished_clone(tmp_path_factory, tmp_path / "clone")
    before = {run.info.run_id for run in clone.training_runs()}
    clone.set_params({"training.max_epochs": "6"})
    log = tmp_path / "log"
    first = clone.start("env", "CAPILLARY_EXECUTOR=docker", "dvc", "repro", "train", log=log)
    name = wait_for_epoch(clone, log)
    client().containers.get(name).kill()
    assert first.wait(60) != 0
    assert "was killed from outside" in log.read_text()
    assert clone.card()["epochs"] == 2, "the former card is put back"
    again = clone.run("dvc", "repro", "train", **CONTAINERS)
    assert "resum" in again.stdout
    (run,) = [run for run in clone.training_runs() if run.info.run_id not in before]
    assert clone.doubled_points(run) == []
    by_processes.set_params({"training.max_epochs": "6"})
    by_processes.run("dvc", "repro", "train")
    assert clone.card()["weights_sha256"] == by_processes.card()["weights_sha256"]


def wait_for_epoch(clone: Clone, log: Path) -> str:
    """The name of the container that trains, once it has finished an epoch."""
    wanted = {"label": [f"capillary.project={clone.root}", "capillary.stage=train"]}
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        running = client().api.containers(filters=wanted)
        if running and "epoch 2/6" in log.read_text():
            return str(running[0]["Names"][0]).lstrip("/")
        time.sleep(0.02)
    raise AssertionError(log.read_text())
