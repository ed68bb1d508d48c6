"""Equal cells on a real cluster are the tasks of one array, and each is what a job of its own would be."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from capillary.places.job import job_folder
from capillary.places.jobs import cancel_jobs
from capillary.places.slurm import queue
from capillary.places.slurm.config import read_config
from capillary.places.slurm.execute import SlurmPlace
from capillary.places.slurm.submitted import ID_FILE, exported_names, submit_array
from stages.common.errors import ExitCode
from tests.support.clusters.places import Head, PlaceProject, ended_heads, until
from tests.support.clusters.slurm import cluster

CELLS = {"toy@a": "tell", "toy@b": "tell", "toy@c": "save"}


@pytest.fixture
def project(tmp_path: Path) -> PlaceProject:
    cluster()
    return PlaceProject(tmp_path / "my project", "slurm")


@pytest.fixture
def array(project: PlaceProject) -> Iterator[str]:
    """The number of an array of all CELLS, of which one runs at a time."""
    folders, jobs = [], []
    for address, mode in CELLS.items():
        plan, place = project.plan(mode, address=address)
        assert isinstance(place, SlurmPlace)
        folders.append(job_folder(plan))
        jobs += place.write(plan, folders[-1])
        plan.state_dir.mkdir(parents=True)
    profile = read_config(project.root).profile_of("toy")
    assert profile is not None
    tasks = submit_array(folders, exported_names(os.environ, jobs), profile, 1, os.environ)
    yield str(tasks[0].number)
    queue.cancel(str(tasks[0].number))


def test_equal_cells_are_one_array(project: PlaceProject, array: str) -> None:
    """A killed head finds its task by the array's name; one that waits is cancelled alone; the last one, whose number
    is that of the array, goes back into the queue by itself and resumes.
    """
    with ended_heads() as heads:
        waiting = {address: Head(project, mode, address=address) for address, mode in CELLS.items()}
        heads += waiting.values()
        waiting["toy@a"].wait_for("here")
        waiting["toy@a"].ask(signal.SIGKILL)
        (job_folder(waiting["toy@a"].plan) / ID_FILE).unlink()
        cancel_jobs(project.root, [f"{array}_1"], every=False)
        heads.append(Head(project, "tell", address="toy@a"))
        heads[-1].wait_for(f"toy@a: found its job {array}_0")
        heads[-1].wait_for("here")
        heads[-1].let_go()
        assert heads[-1].code() == 0, heads[-1].text()
        waiting["toy@c"].wait_for("here")
        queue.ask_to_checkpoint(f"{array}_2")  # as at the time limit
        assert waiting["toy@c"].code() == 0, waiting["toy@c"].text()
        assert waiting["toy@b"].code() == ExitCode.TERMINATED
    assert project.out() == {"copy": "hello\n", "resumed": "checkpoint"}
    assert until(lambda: project.leftovers() == []), project.leftovers()
