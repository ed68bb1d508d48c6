import json
import socketserver
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import SimpleNamespace

import docker
import pytest
from docker.errors import APIError, ImageNotFound, NotFound
from requests.exceptions import ConnectionError as RequestsConnectionError
from requests.exceptions import ReadTimeout

from capillary.executors.container.daemon import connect, daemon_gone, explain, plain_errors
from capillary.settings import ExecutorName
from stages.common.errors import CapillaryError, ExitCode, ServiceError
from tests.unit.capillary.executors.container.fake_daemon import refusal


@pytest.mark.parametrize(
    ("message", "remedy"),
    [
        ('could not select device driver "nvidia" with capabilities: [[gpu]]', "Container Toolkit"),
        ("write /var/lib/docker/x: no space left on device", "docker system df"),
        ("write /x: No Space Left On Device", "docker system df"),
        ("invalid mount config for type bind: bind source path does not exist: /x", "another machine"),
        ("Minimum memory limit allowed is 6MB", "raise memory_gb"),
        ("cannot join network of a non running container: container f00 is not running", "was stopped in the meantime"),
        ("something new", "docs/docker-socket.md"),
    ],
)
def test_the_daemons_refusals_come_with_a_remedy(message: str, remedy: str) -> None:
    """In plain words, next to what the daemon said."""
    error = explain(message, "run train@dice_ce-0")
    assert "run train@dice_ce-0" in error.what
    assert error.value == message
    assert remedy in error.remedy
    assert error.code == ExitCode.MACHINE


@pytest.mark.parametrize(
    ("raised", "kind", "code", "said"),
    [
        (
            RequestsConnectionError("reset"),
            ServiceError,
            ExitCode.SERVICE,
            "stopped answering while it was asked to run toy",
        ),
        (ReadTimeout("late"), ServiceError, ExitCode.SERVICE, "stopped answering while it was asked to run toy"),
        (refusal(404, "no such image", ImageNotFound), CapillaryError, ExitCode.MACHINE, "its image is missing"),
        (refusal(404, "no such container", NotFound), CapillaryError, ExitCode.MACHINE, "could not run toy"),
        (refusal(500, "no space left on device"), CapillaryError, ExitCode.MACHINE, "could not run toy"),
    ],
    ids=["reset", "late", "no image", "no container", "full disk"],
)
def test_the_daemons_errors_become_the_house_s_own(
    raised: Exception, kind: type[CapillaryError], code: ExitCode, said: str
) -> None:
    """With what was being tried, and the daemon's own words."""
    with pytest.raises(kind, match=said) as caught, plain_errors("run toy"):
        raise raised
    assert caught.value.code == code
    assert caught.value.__cause__ is raised
    if isinstance(raised, APIError):
        assert caught.value.value == raised.explanation
    assert "run toy" in daemon_gone("run toy").what


def test_errors_of_another_kind_pass() -> None:
    """They are no answer of the daemon's."""
    with pytest.raises(ValueError, match="other"), plain_errors("run toy"):
        raise ValueError("other")


class Answer(BaseHTTPRequestHandler):
    """Says which version it is, to whatever it is asked."""

    def do_GET(self) -> None:
        body = json.dumps({"ApiVersion": docker.constants.DEFAULT_DOCKER_API_VERSION}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def socket_url(tmp_path: Path) -> Iterator[str]:
    """A daemon that answers."""
    with socketserver.UnixStreamServer(str(tmp_path / "d.sock"), Answer) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"unix://{tmp_path}/d.sock"
        server.shutdown()


def test_a_daemon_that_answers_is_used(socket_url: str) -> None:
    """DOCKER_HOST names it. No answer takes longer than a minute."""
    api = connect({"DOCKER_HOST": socket_url})
    assert api.timeout == 60
    assert api.api_version == docker.constants.DEFAULT_DOCKER_API_VERSION
    api.close()


def test_the_current_context_is_used_unless_a_variable_names_a_daemon(
    socket_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`docker context use`; DOCKER_HOST wins, as with docker itself."""
    context = SimpleNamespace(Host=socket_url, TLSConfig=None)
    monkeypatch.setattr("capillary.executors.container.daemon.ContextAPI.get_current_context", lambda: context)
    connect({}).close()
    with pytest.raises(ServiceError):
        connect({"DOCKER_HOST": f"unix://{tmp_path}/nobody.sock"})


def test_podman_s_service_is_asked_where_podman_runs_stages(socket_url: str, tmp_path: Path) -> None:
    """Its own variable names it, whatever DOCKER_HOST says."""
    nowhere = f"unix://{tmp_path}/nobody.sock"
    connect({"DOCKER_HOST": nowhere, "CONTAINER_HOST": socket_url}, ExecutorName.PODMAN).close()
    with pytest.raises(ServiceError):
        connect({"DOCKER_HOST": nowhere, "CONTAINER_HOST": socket_url}, ExecutorName.DOCKER)


def test_a_daemon_that_does_not_answer_is_named(tmp_path: Path) -> None:
    """With how to start it, and how to do without."""
    nowhere = {"DOCKER_HOST": f"unix://{tmp_path}/nobody.sock"}
    with pytest.raises(ServiceError, match="does not answer") as caught:
        connect(nowhere)
    assert "CAPILLARY_EXECUTOR=process" in caught.value.remedy
    with pytest.raises(ServiceError, match="does not answer"):
        connect({"DOCKER_HOST": f"unix://{tmp_path}/x", "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": str(tmp_path)})
