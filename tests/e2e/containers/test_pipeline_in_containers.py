"""The whole pipeline in sibling containers of a real daemon: the same results as plain processes give.

Its training is killed on the way, so that every comparison is also one with a training that resumed.
"""

import filecmp
import json
import os
import shutil
import subprocess
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from docker.models.containers import Container

from tests.support.clone import TINY, Clone, finished_clone
from tests.support.docker.containers import client
from tests.support.secrets import LOGIN, leaks_in, shown_in

CONTAINERS = {"CAPILLARY_EXECUTOR": "docker"}
IN_CONTAINERS = {**CONTAINERS, **LOGIN}
OUTS = ("data/raw", "data/processed", "metrics")
START_S = 300
Done = subprocess.CompletedProcess[str]


@dataclass(frozen=True, kw_only=True)
class Attempts:
    """`dvc repro` in a fresh clone until all is done: killed, then left alone."""

    clone: Clone
    killed: Done
    finished: Done
    shown: str  # by the daemon, of the container that was killed and of its image


@pytest.fixture(scope="module")
def by_processes(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    return finished_clone(tmp_path_factory, tmp_path_factory.mktemp("processes") / "clone")


@pytest.fixture(scope="module")
def attempts(tmp_path_factory: pytest.TempPathFactory) -> Attempts:
    client()
    clone = Clone(tmp_path_factory.mktemp("containers") / "clone")
    clone.set_params(TINY)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(clone.run, "dvc", "repro", check=False, **IN_CONTAINERS)
        shown = kill_after_an_epoch(clone, running)
        killed = running.result()
    finished = clone.run("dvc", "repro", **IN_CONTAINERS)
    return Attempts(clone=clone, killed=killed, finished=finished, shown=shown)


@pytest.fixture(scope="module")
def by_containers(attempts: Attempts) -> Clone:
    return attempts.clone


def kill_after_an_epoch(clone: Clone, running: Future[Done]) -> str:
    """`docker kill` to the training as soon as an epoch is in its checkpoint; what the daemon showed of it before."""
    container = training_container(clone, running)
    shown = json.dumps([container.attrs, container.image.attrs, container.image.history()])
    while not any(clone.root.glob(".capillary/state/train@dice_ce-0-*/checkpoint.pt")):
        assert not running.done(), running.result()
        time.sleep(0.02)
    container.kill()
    return shown


def training_container(clone: Clone, running: Future[Done]) -> Container:
    wanted = {"label": [f"capillary.project={clone.root}", "capillary.stage=train"]}
    deadline = time.monotonic() + START_S
    while not (found := client().containers.list(filters=wanted)):
        assert not running.done(), running.result()
        assert time.monotonic() < deadline, "no container trains"
        time.sleep(0.05)
    (container,) = found
    return container


def test_no_login_is_shown_or_kept(attempts: Attempts) -> None:
    """Not by `docker inspect` and the image's history; nor in any file of the clone, its logs and its store."""
    assert '"Env"' in attempts.shown
    assert shown_in(attempts.shown.encode()) == []
    assert leaks_in(attempts.clone.root) == []


def differing(one: Path, other: Path) -> list[str]:
    """Relative paths of files that are missing in `other` or hold other bytes."""
    files = [path.relative_to(one) for path in one.rglob("*") if path.is_file()]
    assert files
    same, *others = filecmp.cmpfiles(one, other, [str(file) for file in files], shallow=False)
    assert len(same) + sum(map(len, others)) == len(files)
    return [name for names in others for name in names]


def test_a_training_whose_container_is_killed_resumes_in_the_same_run(attempts: Attempts) -> None:
    """`docker kill` in the middle. That the weights are those of an undisturbed training is tested below."""
    assert attempts.clone.ran(attempts.killed.stdout) == ["ingest", "preprocess", "train@dice_ce-0"]
    assert attempts.killed.returncode != 0
    assert "was killed from outside" in attempts.killed.stdout + attempts.killed.stderr
    clone = attempts.clone
    assert clone.ran(attempts.finished.stdout) == ["train@dice_ce-0", "evaluate"]
    assert "resuming after epoch" in attempts.finished.stdout
    assert clone.card()["epochs"] == 2
    (run,) = clone.training_runs()
    assert clone.doubled_points(run) == []


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
