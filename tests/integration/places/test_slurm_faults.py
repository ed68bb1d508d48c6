"""Heads and nodes of a real cluster that die: the job continues, or runs again and resumes; it never runs twice."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from capillary.places.job import job_folder
from capillary.places.lines import parse_job
from capillary.places.outcome import attempts
from capillary.places.slurm import queue
from capillary.places.slurm.submitted import Submitted, read_submitted
from tests.support.chaos import rounds
from tests.support.clusters.places import Head, PlaceProject, ended_heads, until
from tests.support.clusters.slurm import cluster, power_cut, power_on

ROUNDS = rounds(1, by_hand=3)
Start = Callable[[str], Head]


@pytest.fixture
def project(tmp_path: Path) -> PlaceProject:
    cluster()
    return PlaceProject(tmp_path / "project", "slurm")


@pytest.fixture
def start(project: PlaceProject) -> Iterator[Start]:
    with ended_heads() as heads:

        def start(mode: str) -> Head:
            heads.append(Head(project, mode))
            return heads[-1]

        yield start
        for head in heads:
            if (folder := job_folder(head.plan)).exists() and (left := read_submitted(folder)):
                queue.cancel(left.job)


def submitted(head: Head) -> Submitted:
    found = read_submitted(job_folder(head.plan))
    assert found is not None
    return found


@pytest.mark.parametrize("number", range(ROUNDS))
def test_a_head_that_is_killed_finds_its_job_again(start: Start, project: PlaceProject, number: int) -> None:
    """The job does not notice; the next head shows its log from the start and publishes its outs."""
    first = start("tell")
    first.wait_for("here")
    job = submitted(first).job
    first.ask(signal.SIGKILL)
    first.code()
    second = start("tell")
    second.wait_for(f"found its job {job}")
    second.wait_for("here")
    assert len(list(attempts(job_folder(second.plan)))) == 1
    second.let_go()
    assert second.code() == 0, second.text()
    assert project.out()["copy"] == "hello\n"
    assert until(lambda: project.leftovers() == [])


@pytest.mark.parametrize("number", range(ROUNDS))
def test_a_node_that_loses_its_power(start: Start, project: PlaceProject, number: int) -> None:
    """Slurm requeues the job; another attempt finds what the first one kept, and the head waits for it."""
    head = start("tell")
    head.wait_for("here")
    folder, job = job_folder(head.plan), submitted(head).job
    (first,) = attempts(folder)
    power_cut(first.node)
    try:
        assert until(lambda: _is_pending(job))
        queue.start_now(job)  # instead of two minutes
        head.wait_for("here")
        head.let_go()
        assert head.code() == 0, head.text()
    finally:
        power_on(first.node)
    assert "retries 1" in head.text()
    assert project.out()["copy"] == "hello\n"
    assert until(lambda: project.leftovers() == [])


@pytest.mark.parametrize("number", range(rounds(0, by_hand=3)))
def test_a_node_whose_disk_is_full(start: Start, project: PlaceProject, number: int) -> None:
    """Another node does the work, and the head names the one that could not."""
    head = start("full")
    assert head.code() == 0, head.text()
    (warning,) = (line for line in head.text().splitlines() if "is full" in line)
    first, *_, last = [line.node for line in map(parse_job, head.text().splitlines()) if line and line.state == "ended"]
    assert first != last
    assert f"the disk of node {first} is full (" in warning
    assert f"--exclude={first}" in warning
    assert project.out() == {"copy": "hello\n"}
    assert until(lambda: project.leftovers() == [])


def _is_pending(job: str) -> bool:
    info = queue.ask(job)
    return isinstance(info, queue.JobInfo) and info.is_pending
