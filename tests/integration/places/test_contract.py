"""What every place promises, whatever it is: the same stage, the same outs, the same end.

A new place is one name in SETTINGS (tests/support/clusters/places.py) that passes this file.
"""

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.chaos import BY_HAND
from tests.support.clusters.leftovers import KEPT
from tests.support.clusters.places import SETTINGS, Head, PlaceProject, ended_heads, until
from tests.support.clusters.ray_cluster import shared_nodes
from tests.support.clusters.slurm import cluster
from tests.support.docker.containers import client
from tests.support.docker.podman import end_service, podman, podman_settings, refuse_unable
from tests.support.processes import processes_in

Start = Callable[..., Head]


# a container on a node is what it is on this machine, and the job around it is any job; by hand all is asked of both
ON_ONE = [name for name in SETTINGS if BY_HAND or " on " not in name]
ON_ONE_MACHINE = pytest.mark.parametrize("project", ON_ONE, indirect=True)
# what ends a stage is the same code in containers of Podman and of Docker
ONE_OF_EACH_KIND = pytest.mark.parametrize("project", [name for name in ON_ONE if name != "podman"], indirect=True)
NEEDS: dict[str, Callable[[], object]] = {
    "docker": client,
    "podman": podman,
    "slurm": cluster,
    "ray": shared_nodes,
    "docker on slurm": lambda: (client(), cluster()),
    "docker on ray": lambda: (client(), shared_nodes()),
}


@pytest.fixture(scope="module")
def podman_variables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """How Podman runs here, with its own socket for its service, which ends with the tests."""
    podman()
    home = tmp_path_factory.mktemp("podman")
    variables = podman_settings(home)
    refuse_unable(variables)
    yield variables
    end_service(home)


@pytest.fixture(params=SETTINGS)
def project(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PlaceProject:
    """A project whose stage runs in the place under test."""
    NEEDS.get(request.param, lambda: None)()
    if request.param == "podman":
        for name, value in request.getfixturevalue("podman_variables").items():
            monkeypatch.setenv(name, value)
    return PlaceProject(tmp_path / "my project", request.param)


@pytest.fixture
def start(project: PlaceProject) -> Iterator[Start]:
    """A head that runs the stage in a mode."""
    with ended_heads() as heads:

        def start(mode: str, **variables: str) -> Head:
            heads.append(Head(project, mode, **variables))
            return heads[-1]

        yield start


def left_of(project: PlaceProject) -> list[str]:
    """What the project or the place itself still has of its runs."""
    return [*project.leftovers(), *KEPT[project.name](project.root)]


def test_a_stage_that_ends_well(start: Start, project: PlaceProject) -> None:
    """Its words come while it runs; its outs are published whole; it has its own variables and its share of threads."""
    head = start("tell", TOY_TOKEN="for the toy", OTHER_TOKEN="for nobody", CAPILLARY_THREADS="1")
    head.wait_for("here")
    assert project.out() == {}
    assert project.holding(b"for the toy") == []
    head.let_go()
    assert head.code() == 0, head.text()
    out = project.out()
    variables = json.loads(out.pop("variables"))
    assert out == {"copy": "hello\n"}
    assert (variables["TOY_TOKEN"], variables["OMP_NUM_THREADS"]) == ("for the toy", "1")
    assert "OTHER_TOKEN" not in variables
    assert not any(name.startswith(("CAPILLARY_EX", "CAPILLARY_PL", "SLURM", "SSH")) for name in variables)
    assert until(lambda: left_of(project) == []), left_of(project)
    assert project.holding(b"for the toy") == []


@ONE_OF_EACH_KIND
def test_a_stage_that_fails(start: Start, project: PlaceProject) -> None:
    """Its exit code is that of the run, and nothing is published."""
    head = start("fail")
    assert head.code() == 9, head.text()
    assert project.out() == {}
    assert until(lambda: left_of(project) == []), left_of(project)


@ON_ONE_MACHINE
def test_a_stage_that_is_asked_to_stop_and_runs_again(start: Start, project: PlaceProject) -> None:
    """Ctrl-C lets it save what the next run resumes from."""
    head = start("save", CAPILLARY_GRACE_S="60")  # a busy machine is not what is tested
    head.wait_for("here")
    head.ask(signal.SIGINT)
    assert head.code() == 128 + signal.SIGINT, head.text()
    assert project.out() == {}
    assert until(lambda: left_of(project) == []), left_of(project)
    again = start("save")
    assert again.code() == 0, again.text()
    assert project.out() == {"copy": "hello\n", "resumed": "checkpoint"}


@ONE_OF_EACH_KIND
def test_a_stage_that_does_not_stop(start: Start, project: PlaceProject) -> None:
    """It is killed after the grace period, which its setting gives."""
    head = start("ignore", CAPILLARY_GRACE_S="1")
    head.wait_for("here")
    head.ask(signal.SIGINT)
    assert head.code() == 128 + signal.SIGINT, head.text()
    assert "did not end within 1 s (CAPILLARY_GRACE_S)" in head.text()
    assert project.out() == {}
    assert until(lambda: left_of(project) == []), left_of(project)


# here, where a Ray cluster is up: starting one for a file of its own takes longer than the test
def test_tasks_of_a_ray_cluster_end_though_a_node_is_lost(tmp_path: Path) -> None:
    """Three tasks fill three nodes. The one whose node is gone starts again where another ends, and nothing is left."""
    nodes = shared_nodes()
    projects = [PlaceProject(tmp_path / name, "ray") for name in "abc"]
    with ended_heads() as heads:
        heads += [Head(project, "tell") for project in projects]
        for head in heads:
            head.wait_for("here")
        nodes.lose_one()
        assert until(lambda: not all(processes_in(project.root) for project in projects))
        (lost,) = (head for head, project in zip(heads, projects, strict=True) if not processes_in(project.root))
        others = [head for head in heads if head is not lost]
        for head in others:
            head.let_go()
        assert [head.code() for head in others] == [0, 0], "".join(head.text() for head in others)
        lost.wait_for("here")  # for the second time
        lost.let_go()
        assert lost.code() == 0, lost.text()
    assert [project.out()["copy"] for project in projects] == ["hello\n"] * 3
    assert ["retries 1" in head.text() for head in heads] == [head is lost for head in heads]
    assert until(lambda: [left_of(project) for project in projects] == [[], [], []])


def test_the_places_are_those_that_this_file_knows() -> None:
    """A place that is added has what it needs said here."""
    assert SETTINGS.keys() - {"process"} == NEEDS.keys()
    assert SETTINGS.keys() == KEPT.keys()
