import os
import socket
from collections.abc import Iterator

import pytest

from capillary.preflight.ports import Port, check_port, is_busy, program_on, published
from stages.preflight.check import Status
from tests.support.machine import dead_port
from tests.support.parts import REPOSITORY


@pytest.fixture
def busy() -> Iterator[int]:
    """A port that this process has."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield int(server.getsockname()[1])


def port(number: int) -> Port:
    return Port(service="mlflow", variable="MLFLOW_PORT", host="127.0.0.1", number=number)


def test_a_busy_port_is_seen_and_its_owner_named(busy: int) -> None:
    """By program and process number, where they can be seen; the remedy names the variable."""
    assert is_busy(port(busy))
    owner = program_on(busy)
    assert f"(process {os.getpid()})" in owner
    check = check_port(port(busy), owner, wanted=False, critical=True)
    assert check.status is Status.FAIL
    assert "MLFLOW_PORT" in check.remedy
    assert check_port(port(busy), owner, wanted=False, critical=False).status is Status.WARN


def test_a_free_port_passes() -> None:
    """Nobody listens."""
    number = dead_port()
    assert not is_busy(port(number))
    assert check_port(port(number), None, wanted=False, critical=True).status is Status.PASS


def test_the_project_s_own_service_may_have_it(busy: int) -> None:
    """It is what the port is for."""
    assert check_port(port(busy), "the container x-mlflow-1", wanted=True, critical=True).status is Status.PASS


def test_the_ports_are_those_of_the_compose_file() -> None:
    """With the profile that is chosen, and the variables that move them."""
    assert [(each.service, each.number) for each in published(REPOSITORY, {})] == [("mlflow", 5000)]
    team = {"COMPOSE_PROFILES": "team", "MLFLOW_PORT": "5001"}
    found = {each.service: (each.variable, each.number) for each in published(REPOSITORY, team)}
    assert found == {"mlflow": ("MLFLOW_PORT", 5001), "object-store": ("S3_PORT", 9000)}
