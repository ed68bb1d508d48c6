"""What the files of this folder share: the daemon, and a project that its tests leave as they found it."""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.docker.containers import CHAOS_MODES, ContainerToy, client


@pytest.fixture(scope="module", autouse=True)
def _daemon_of_all_or_of_one(request: pytest.FixtureRequest) -> Iterator[None]:
    """Files run next to each other, but for one that restarts the daemon: that would stop the others' containers."""
    alone = request.node.get_closest_marker("restarts_daemon") is not None
    with (Path(tempfile.gettempdir()) / f"capillary-tests-daemon-{os.getuid()}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> ContainerToy:
    """A project that ran once, so that it has previous outs."""
    client()
    toy = ContainerToy(tmp_path_factory.mktemp("chaos") / "toy", CHAOS_MODES)
    toy.set("work")
    done = toy.repro()
    assert done.returncode == 0, done.stdout + done.stderr
    return toy


@pytest.fixture
def toy(finished: ContainerToy, request: pytest.FixtureRequest) -> ContainerToy:
    """A copy of the finished project for one test."""
    return finished.copy(finished.root.with_name(request.node.name.replace("[", "-").strip("]")))


@pytest.fixture
def no_run_is_left(finished: ContainerToy) -> Iterator[None]:
    """A test that fails must not hold up the next."""
    yield
    for process in psutil.process_iter(["cwd"]):
        if (process.info["cwd"] or "").startswith(str(finished.root.parent)):
            process.kill()
