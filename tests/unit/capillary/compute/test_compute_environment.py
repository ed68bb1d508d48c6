"""The detection matrix, row by row, and the signals as they are read from a real file system and a real server."""

import http.client
import ipaddress
import socket
from pathlib import Path

import pytest

from capillary.compute.environment import (
    METADATA_ADDRESS,
    METADATA_TIMEOUT_S,
    EnvironmentName,
    EnvironmentSignals,
    answers,
    detect_environment,
    read_environment_signals,
)
from tests.support.machine import dead_port, tcp_server

CI, CLOUD, DOCKER, LOCAL = EnvironmentName.CI, EnvironmentName.CLOUD, EnvironmentName.DOCKER, EnvironmentName.LOCAL
POD = {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}
IN_DOCKER = "/.dockerenv exists"
REFUSAL = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize(
    ("seen", "expected", "in_container"),
    [
        (EnvironmentSignals(variables={}), LOCAL, False),
        (EnvironmentSignals(variables={"CI": "true"}), CI, False),
        (EnvironmentSignals(variables={"CI": "1"}, container=IN_DOCKER), CI, True),
        (EnvironmentSignals(variables={"CI": "true", **POD}), CI, False),
        (EnvironmentSignals(variables={"CI": "false"}), LOCAL, False),
        (EnvironmentSignals(variables={"CI": ""}), LOCAL, False),
        (EnvironmentSignals(variables={"CI": "0"}, container=IN_DOCKER), DOCKER, True),
        (EnvironmentSignals(variables=POD), CLOUD, True),
        (EnvironmentSignals(variables=POD, container=IN_DOCKER), CLOUD, True),
        (EnvironmentSignals(variables={}, container=IN_DOCKER), DOCKER, True),
        (EnvironmentSignals(variables={}, container=IN_DOCKER, dmi=("Amazon EC2",)), DOCKER, True),
        (EnvironmentSignals(variables={}, dmi=("Amazon EC2", "g5.xlarge")), CLOUD, False),
        (EnvironmentSignals(variables={}, dmi=("Google", "Google Compute Engine")), CLOUD, False),
        (
            EnvironmentSignals(variables={}, dmi=("Microsoft Corporation", "7783-7084-3265-9085-8269-3286-77")),
            CLOUD,
            False,
        ),
        (EnvironmentSignals(variables={}, dmi=("QEMU", "OracleCloud.com")), CLOUD, False),
        (EnvironmentSignals(variables={}, dmi=("Hetzner",)), CLOUD, False),
        (EnvironmentSignals(variables={}, dmi=("OpenStack Foundation",), metadata_answers=lambda: True), CLOUD, False),
        (EnvironmentSignals(variables={}, dmi=("OpenStack Foundation",), metadata_answers=lambda: False), LOCAL, False),
        (EnvironmentSignals(variables={}, dmi=("QEMU",), metadata_answers=lambda: True), CLOUD, False),
        (EnvironmentSignals(variables={}, dmi=("Microsoft Corporation",), metadata_answers=lambda: True), LOCAL, False),
        (EnvironmentSignals(variables={}, dmi=("LENOVO", "ThinkStation"), metadata_answers=lambda: True), LOCAL, False),
    ],
)  # fmt: skip
def test_the_detection_matrix(seen: EnvironmentSignals, expected: EnvironmentName, in_container: bool) -> None:
    """CI before pod before container before cloud before local; a container is noticed in any of them."""
    found = detect_environment(seen)
    assert (found.name, found.in_container) == (expected, in_container)
    assert found.reason


@pytest.mark.parametrize("dmi", [(), ("Amazon EC2",), ("LENOVO",)])
def test_the_metadata_service_is_asked_only_where_the_firmware_hints_at_it(dmi: tuple[str, ...]) -> None:
    """On a laptop nothing goes to the network, and where the firmware is plain nothing needs to."""

    def must_not_be_asked() -> bool:
        raise AssertionError("asked")

    detect_environment(EnvironmentSignals(variables={}, dmi=dmi, metadata_answers=must_not_be_asked))


def test_signals_are_read_from_the_machine_s_files(tmp_path: Path) -> None:
    """The sign of a container and the firmware's texts; what is missing is not an error."""
    assert read_environment_signals({}, tmp_path).dmi == ()
    (tmp_path / ".dockerenv").touch()
    (tmp_path / "sys/class/dmi/id").mkdir(parents=True)
    (tmp_path / "sys/class/dmi/id/sys_vendor").write_text("Amazon EC2\n")
    seen = read_environment_signals({"CI": "1"}, tmp_path)
    assert (seen.container, seen.dmi) == ("/.dockerenv exists", ("Amazon EC2",))
    (tmp_path / "sys/class/dmi/id/product_name").write_text(" \n")
    (tmp_path / "sys/class/dmi/id/chassis_asset_tag").write_bytes(b"\xff tag")
    assert read_environment_signals({}, tmp_path).dmi == ("Amazon EC2", "\ufffd tag")
    assert seen.variables == {"CI": "1"}


def test_the_service_that_is_asked_is_the_one_that_was_given(tmp_path: Path) -> None:
    """Only when it is asked: to look at the machine opens no connection."""
    with tcp_server(REFUSAL) as port:
        assert read_environment_signals({}, tmp_path, ("127.0.0.1", port)).metadata_answers()
    assert not read_environment_signals({}, tmp_path, ("127.0.0.1", dead_port())).metadata_answers()


@pytest.mark.parametrize("answer", [REFUSAL, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"])
def test_a_metadata_service_that_answers_anything_is_one(answer: bytes) -> None:
    """EC2 refuses a question without a token."""
    with tcp_server(answer) as port:
        assert answers(("127.0.0.1", port))


def test_another_server_is_no_metadata_service() -> None:
    """What it says is not HTTP."""
    with tcp_server(b"SSH-2.0-OpenSSH_9.2\r\n") as port:
        assert not answers(("127.0.0.1", port))


@pytest.mark.timeout(30)
def test_a_service_that_stays_silent_is_none() -> None:
    """The wait for its answer ends; a machine that has none is asked at an address that no name server must find."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert not answers(silent.getsockname(), timeout_s=0.01)
    assert not answers(("127.0.0.1", dead_port()))
    assert ipaddress.ip_address(METADATA_ADDRESS[0]).is_link_local
    assert METADATA_TIMEOUT_S <= 0.5


def test_the_address_and_the_patience_are_those_of_the_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless others are given."""
    asked: list[tuple[object, ...]] = []

    class Connection:
        def __init__(self, *address: object, timeout: float) -> None:
            asked.append((*address, timeout))

        def request(self, *_: str) -> None:
            raise ConnectionRefusedError

        def close(self) -> None:
            asked.append(("closed",))

    monkeypatch.setattr(http.client, "HTTPConnection", Connection)
    assert not read_environment_signals({}, tmp_path).metadata_answers()
    assert asked == [(*METADATA_ADDRESS, METADATA_TIMEOUT_S), ("closed",)]


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        (EnvironmentSignals(variables={"CI": "true"}), "CI=true"),
        (EnvironmentSignals(variables=POD), "a pod"),
        (EnvironmentSignals(variables={}, container=IN_DOCKER), "/.dockerenv exists"),
        (EnvironmentSignals(variables={}, dmi=("Google Compute Engine",)), "the firmware says Google Compute Engine"),
        (EnvironmentSignals(variables={}, dmi=("KVM",), metadata_answers=lambda: True), "metadata service answers"),
        (EnvironmentSignals(variables={}), "no sign of"),
    ],
)
def test_the_reason_is_the_sign_that_decided(seen: EnvironmentSignals, reason: str) -> None:
    """In words that a user can check."""
    assert reason in detect_environment(seen).reason
