import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from capillary.preflight.ports import Port, check_port, check_ports, is_busy, program_on, published
from stages.common.preflight.check import Check, Status
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


def test_services_of_other_profiles_and_ports_that_nobody_can_move_are_passed_over(tmp_path: Path) -> None:
    """A project without a compose file publishes nothing."""
    assert list(published(tmp_path, {})) == []
    (tmp_path / "docker-compose.yml").write_text(
        "services:\n"
        "  web: {ports: ['127.0.0.1:${WEB:-80}:8080', '5000:5000', 9000]}\n"
        "  bare: {}\n"
        "  team: {profiles: [team, all], ports: ['0.0.0.0:${TEAM:-81}:8080']}\n"
    )
    web = Port(service="web", variable="WEB", host="127.0.0.1", number=80)
    assert list(published(tmp_path, {"COMPOSE_PROFILES": "other"})) == [web]
    team = Port(service="team", variable="TEAM", host="0.0.0.0", number=82)
    assert list(published(tmp_path, {"COMPOSE_PROFILES": "x, team", "TEAM": "82"})) == [web, team]


class Containers:
    """A daemon on which one container publishes `number`, of the compose project in `folder`."""

    def __init__(self, number: int, folder: Path) -> None:
        self._number, self._folder = number, folder

    def containers(self, *, filters: dict[str, str]) -> list[dict[str, Any]]:
        labels = {"com.docker.compose.project.working_dir": str(self._folder)}
        return [{"Names": ["/x-mlflow-1"], "Labels": labels}] if filters == {"publish": str(self._number)} else []


def checked(root: Path, number: int, container_in: Path | None, **variables: str) -> Check:
    """The check of the one port that the project `root` publishes, `number`."""
    (root / "docker-compose.yml").write_text("services: {mlflow: {ports: ['127.0.0.1:${MLFLOW_PORT:-1}:5000']}}\n")
    api = Containers(number if container_in else 0, container_in or root)
    (check,) = check_ports(root, {"MLFLOW_PORT": str(number), **variables}, api, critical=True)  # type: ignore[arg-type]
    return check


def test_a_port_is_free_or_its_owner_is_told(tmp_path: Path, busy: int) -> None:
    """This project's own container may have it; another one, or a program, may not."""
    assert checked(tmp_path, dead_port(), None).value == "free"
    own = checked(tmp_path, busy, tmp_path)
    assert (own.status, own.value) == (Status.PASS, "used by the container x-mlflow-1, as it should be")
    other = checked(tmp_path, busy, tmp_path / "other")
    assert (other.status, other.value) == (Status.FAIL, "used by the container x-mlflow-1")
    program = checked(tmp_path, busy, None)
    assert program.status is Status.FAIL
    assert f"(process {os.getpid()})" in program.value


@pytest.mark.parametrize(
    ("uri", "status"),
    [
        ("http://localhost:{}", Status.PASS),
        ("http://127.0.0.1:{}", Status.PASS),
        ("http://mlflow.example.org:{}", Status.FAIL),
        ("http://localhost:1", Status.FAIL),
        ("http://localhost:port", Status.FAIL),
        ("http://[::1:5000", Status.FAIL),
    ],
)
def test_the_server_that_runs_go_to_may_have_it(tmp_path: Path, busy: int, uri: str, status: Status) -> None:
    """Whoever started it: MLFLOW_TRACKING_URI names it, on this machine and at this port."""
    assert checked(tmp_path, busy, None, MLFLOW_TRACKING_URI=uri.format(busy)).status is status


def test_a_program_that_cannot_be_seen_has_no_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another user's, or one of a system that tells nothing."""
    assert program_on(dead_port()) == "another program"

    def refuse(_kind: str) -> None:
        raise psutil.AccessDenied

    monkeypatch.setattr("capillary.preflight.ports.psutil.net_connections", refuse)
    assert program_on(1) == "another program"


def test_a_port_that_only_root_may_have_is_not_called_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The daemon may have it: that this process may not tells nothing."""

    class Refusing(socket.socket):
        def bind(self, _address: object) -> None:
            raise PermissionError

    monkeypatch.setattr("capillary.preflight.ports.socket.socket", Refusing)
    assert not is_busy(port(80))
