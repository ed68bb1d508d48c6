"""The detection matrix, row by row, and the signals as they are read from a real file system and a real server."""

import http.server
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from capillary.compute.environment import EnvironmentName, Surroundings, answers, detect_environment, see_surroundings

CI, CLOUD, DOCKER, LOCAL = EnvironmentName.CI, EnvironmentName.CLOUD, EnvironmentName.DOCKER, EnvironmentName.LOCAL
POD = {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}
IN_DOCKER = ("/.dockerenv",)
CGROUP = f"12:memory:/docker/{'a' * 64}\n"


@pytest.mark.parametrize(
    ("seen", "expected", "in_container"),
    [
        (Surroundings(variables={}), LOCAL, False),
        (Surroundings(variables={"CI": "true"}), CI, False),
        (Surroundings(variables={"CI": "1"}, container_files=IN_DOCKER), CI, True),
        (Surroundings(variables={"CI": "true", **POD}), CI, False),
        (Surroundings(variables={"CI": "false"}), LOCAL, False),
        (Surroundings(variables={"CI": ""}), LOCAL, False),
        (Surroundings(variables={"CI": "0"}, container_files=IN_DOCKER), DOCKER, True),
        (Surroundings(variables=POD), CLOUD, True),
        (Surroundings(variables=POD, container_files=IN_DOCKER, cgroup="1:cpu:/kubepods/x"), CLOUD, True),
        (Surroundings(variables={}, container_files=IN_DOCKER), DOCKER, True),
        (Surroundings(variables={}, container_files=("/run/.containerenv",)), DOCKER, True),
        (Surroundings(variables={}, cgroup=CGROUP), DOCKER, True),
        (Surroundings(variables={}, cgroup="0::/system.slice/containerd.service/x"), DOCKER, True),
        (Surroundings(variables={}, cgroup="0::/machine.slice/libpod-a.scope"), DOCKER, True),
        (Surroundings(variables={}, cgroup="0::/init.scope\n"), LOCAL, False),
        (Surroundings(variables={}, container_files=IN_DOCKER, dmi=("Amazon EC2",)), DOCKER, True),
        (Surroundings(variables={}, dmi=("Amazon EC2", "g5.xlarge")), CLOUD, False),
        (Surroundings(variables={}, dmi=("Google", "Google Compute Engine")), CLOUD, False),
        (
            Surroundings(variables={}, dmi=("Microsoft Corporation", "7783-7084-3265-9085-8269-3286-77")),
            CLOUD,
            False,
        ),
        (Surroundings(variables={}, dmi=("QEMU", "OracleCloud.com")), CLOUD, False),
        (Surroundings(variables={}, dmi=("Hetzner",)), CLOUD, False),
        (Surroundings(variables={}, dmi=("OpenStack Foundation",), metadata_answers=lambda: True), CLOUD, False),
        (Surroundings(variables={}, dmi=("OpenStack Foundation",), metadata_answers=lambda: False), LOCAL, False),
        (Surroundings(variables={}, dmi=("QEMU",), metadata_answers=lambda: True), CLOUD, False),
        (Surroundings(variables={}, dmi=("Microsoft Corporation",), metadata_answers=lambda: True), LOCAL, False),
        (Surroundings(variables={}, dmi=("LENOVO", "ThinkStation"), metadata_answers=lambda: True), LOCAL, False),
    ],
)  # fmt: skip
def test_the_detection_matrix(seen: Surroundings, expected: EnvironmentName, in_container: bool) -> None:
    """CI before pod before container before cloud before local; a container is noticed in any of them."""
    found = detect_environment(seen)
    assert (found.name, found.in_container) == (expected, in_container)
    assert found.reason


@pytest.mark.parametrize("dmi", [(), ("Amazon EC2",), ("LENOVO",)])
def test_the_metadata_service_is_asked_only_where_the_firmware_hints_at_it(dmi: tuple[str, ...]) -> None:
    """On a laptop nothing goes to the network, and where the firmware is plain nothing needs to."""

    def must_not_be_asked() -> bool:
        raise AssertionError("asked")

    detect_environment(Surroundings(variables={}, dmi=dmi, metadata_answers=must_not_be_asked))


def test_signals_are_read_from_the_machine_s_files(tmp_path: Path) -> None:
    """Container files, the first process's cgroups and the firmware's texts; what is missing is no error."""
    assert see_surroundings({}, tmp_path).dmi == ()
    (tmp_path / ".dockerenv").touch()
    (tmp_path / "proc/1").mkdir(parents=True)
    (tmp_path / "proc/1/cgroup").write_text(CGROUP)
    (tmp_path / "sys/class/dmi/id").mkdir(parents=True)
    (tmp_path / "sys/class/dmi/id/sys_vendor").write_text("Amazon EC2\n")
    seen = see_surroundings({"CI": "1"}, tmp_path)
    assert (seen.container_files, seen.cgroup, seen.dmi) == (("/.dockerenv",), CGROUP, ("Amazon EC2",))
    assert seen.variables == {"CI": "1"}


class _Refuse(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        """As EC2 answers to a question without a token."""
        self.send_error(401)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def service() -> Iterator[tuple[str, int]]:
    with http.server.HTTPServer(("127.0.0.1", 0), _Refuse) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield ("127.0.0.1", server.server_port)
        server.shutdown()


def test_a_metadata_service_that_refuses_is_one(service: tuple[str, int]) -> None:
    """Any HTTP answer counts."""
    assert answers(service)


def test_no_metadata_service_costs_no_time() -> None:
    """Neither a closed port nor one that accepts and stays silent."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        closed = silent.getsockname()
        started = time.monotonic()
        assert not answers(closed)
        silent.listen()
        assert not answers(closed)
        assert time.monotonic() - started < 1
