"""The dvc-runner container is stopped or killed: its siblings end with it, and the same command again ends well."""

import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from docker.models.containers import Container

from tests.support.docker.containers import (
    CHAOS_MODES,
    REAPED_WITHIN_S,
    START_S,
    ContainerToy,
    assert_clean,
    assert_rerun_ends_well,
    client,
    whole,
)
from tests.support.parts import REPOSITORY, require

SOCKET = "/var/run/docker.sock"
ENVIRONMENT = {"CAPILLARY_EXECUTOR": "docker", "CAPILLARY_TORCH": "cpu"}
# what of a checkout the runner needs besides the toy's stages: the tool, with what it loads when a stage starts, and
# what tells that its image is not outdated
LOADED = (
    "stages/common/lifetimes",
    "stages/common/machine",
    *(
        f"stages/common/{name}.py"
        for name in ("atomic", "cell_name", "runtime", "splits", "imaging/__init__", "imaging/suffixes", "imaging/zyx")
    ),
    *(f"stages/common/dataset/{name}.py" for name in ("__init__", "hub")),
    *(f"stages/common/tracking/{name}.py" for name in ("__init__", "address", "names")),
)
CHECKOUT = ("capillary", *LOADED, "services/runner", "pyproject.toml", "Dockerfile.dvc-runner")


@pytest.fixture(scope="module")
def image() -> str:
    """The runner's image, as `docker compose build` makes it."""
    client()
    require(shutil.which("docker") is not None, "the docker command, to build the dvc-runner")
    argv = ["docker", "build", "--quiet", "--tag", "capillary-dvc-runner:tests", "--file", "Dockerfile.dvc-runner", "."]
    done = subprocess.run(argv, cwd=REPOSITORY, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> ContainerToy:
    """A toy project that looks like a checkout and ran once."""
    toy = ContainerToy(tmp_path_factory.mktemp("runner") / "toy", CHAOS_MODES)
    for name in CHECKOUT:
        (toy.root / name).parent.mkdir(parents=True, exist_ok=True)
        if (REPOSITORY / name).is_dir():
            shutil.copytree(REPOSITORY / name, toy.root / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(REPOSITORY / name, toy.root / name)
    toy.commit()
    toy.set("work")
    done = toy.repro()
    assert done.returncode == 0, done.stdout + done.stderr
    return toy


@pytest.fixture
def runner(image: str, toy: ContainerToy) -> Iterator[Container]:
    """`dvc repro` in a dvc-runner, with the stage in the middle of its work."""
    toy.set("say_once", 2)
    toy.forget_start()
    container = client().containers.run(
        image,
        ["dvc", "repro"],
        detach=True,
        init=True,
        environment=ENVIRONMENT,
        volumes=[f"{toy.root}:/workspace", f"{SOCKET}:{SOCKET}"],
        labels={"capillary.test": "runner"},
    )
    try:
        deadline = time.monotonic() + START_S
        while not toy.started():
            container.reload()
            assert container.status == "running", container.logs().decode()
            assert time.monotonic() < deadline, container.logs().decode()
            time.sleep(0.1)
        yield container
    finally:
        container.remove(force=True)


def in_runner(image: str, toy: ContainerToy, *argv: str) -> str:
    """What a command in a dvc-runner of its own printed."""
    output: bytes = client().containers.run(
        image,
        list(argv),
        remove=True,
        init=True,
        environment=ENVIRONMENT,
        volumes=[f"{toy.root}:/workspace", f"{SOCKET}:{SOCKET}"],
    )
    return output.decode()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_request_to_stop_reaches_the_sibling(runner: Container, toy: ContainerToy, number: signal.Signals) -> None:
    """`docker stop` is a SIGTERM: the stage saves its state before the runner ends."""
    runner.kill(signal=number)
    ended = runner.wait(timeout=REAPED_WITHIN_S)
    assert ended["StatusCode"] != 0
    assert toy.containers() == []  # the runner waits for its siblings
    logs = runner.logs().decode()
    assert logs.count("asked by") == 1, logs
    assert_clean(toy)
    assert "saved before: True" in assert_rerun_ends_well(toy)


def test_a_killed_runner_takes_its_siblings_along(runner: Container, toy: ContainerToy) -> None:
    """Nobody is left to end them: they notice by themselves.

    They are siblings: the machine's daemon knows both, by the machine's own paths.
    """
    (sibling,) = toy.containers()
    assert sibling["Labels"]["capillary.project"] == str(toy.root)
    sources = {mount["Source"] for mount in client().api.inspect_container(sibling["Id"])["Mounts"]}
    assert str(toy.root / "data" / "in.txt") in sources
    assert SOCKET not in sources
    runner.kill()
    assert_clean(toy)
    assert toy.parts() in (None, whole(1))
    assert "saved before: True" in assert_rerun_ends_well(toy)


def test_files_of_a_run_belong_to_the_owner_of_the_project(image: str, toy: ContainerToy) -> None:
    """Whoever that is: nobody exports a uid."""
    owner = 4321
    toy.set("work", 2)
    for path in [toy.root, *toy.root.rglob("*")]:
        shutil.chown(path, owner, owner) if not path.is_symlink() else None
    assert "Running stage 'toy'" in in_runner(image, toy, "dvc", "repro")
    assert toy.parts() == whole(2)
    strangers = [path for path in Path(toy.root).rglob("*") if path.lstat().st_uid != owner]
    assert strangers == []


def test_an_experiment_runs_from_the_queue_in_a_folder_of_its_own(image: str, toy: ContainerToy) -> None:
    """`dvc exp run --queue`, then `dvc queue start`: the runner stays until the queue's worker has ended."""
    toy.set("work", 1)
    toy.commit()
    in_runner(image, toy, "dvc", "exp", "run", "--queue", "--name", "queued", "-S", "toy.times=2")
    in_runner(image, toy, "dvc", "queue", "start")
    look = "dvc exp show --csv --no-pager\ndvc exp apply queued"
    rows = in_runner(image, toy, "sh", "-ec", look).splitlines()
    assert "Failed" not in next(row for row in rows if row.startswith("queued,"))
    assert toy.parts() == whole(2)
    assert toy.containers() == []
