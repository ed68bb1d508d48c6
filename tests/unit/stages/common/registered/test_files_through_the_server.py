"""Files of a version come through the MLflow server, whatever other way it offers."""

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest
from mlflow import MlflowClient

from stages.common.errors import CapillaryError, DataError
from stages.common.registered.files import fetch_file
from stages.common.tracking.server import OutageError, Server

LISTED = ("weights", "endless", "cut", "gone")
FILES = "/api/2.0/mlflow-artifacts/artifacts"
ANSWERS: dict[str, object] = {
    "/api/2.0/mlflow/registered-models/get": {"registered_model": {"name": "capillary-any"}},
    "/api/2.0/mlflow/model-versions/get-download-uri": {"artifact_uri": "mlflow-artifacts:/1/r/artifacts/model"},
    FILES: {"files": [{"path": name, "is_dir": False, "file_size": 5} for name in LISTED]},
    "/api/3.0/mlflow/server-info": {"multipart_downloads_enabled": True, "multipart_uploads_enabled": True},
    f"{FILES}/1/r/artifacts/model/weights": b"bytes",
    f"{FILES}/1/r/artifacts/model/cut": b"byt",
}


class _Offering(BaseHTTPRequestHandler):
    """An MLflow server that offers addresses of the store behind it."""

    asked: ClassVar[list[str]]

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.asked.append(path)
        endless = path.endswith("/endless")
        answer = ANSWERS.get(path)
        self.send_response(200 if answer or endless else 404)
        if path.endswith("/cut"):
            self.send_header("Content-Length", "5")
        self.end_headers()
        with contextlib.suppress(ConnectionError):  # the client has had enough
            while endless:
                self.wfile.write(bytes(1 << 16))
        self.wfile.write(answer if isinstance(answer, bytes) else json.dumps(answer).encode())

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def offering() -> Iterator[tuple[str, list[str]]]:
    """Its address, and what it is asked for."""
    _Offering.asked = []
    with ThreadingHTTPServer(("127.0.0.1", 0), _Offering) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", _Offering.asked
        server.shutdown()


def test_a_file_comes_through_the_server(offering: tuple[str, list[str]]) -> None:
    """The store may have an address that this machine does not know, and the client would wait for it for minutes."""
    uri, asked = offering
    server = Server(client=MlflowClient(uri), uri=uri, patience_s=0.0)
    assert fetch_file("weights", "capillary-any", "1", server, 5) == b"bytes"
    assert not any("presigned" in path for path in asked)


def test_a_file_without_end_is_given_up_when_it_is_larger_than_allowed(offering: tuple[str, list[str]]) -> None:
    """The list said five bytes. Nothing of it lands on the disk."""
    uri, _ = offering
    server = Server(client=MlflowClient(uri), uri=uri, patience_s=0.0)
    with pytest.raises(DataError, match=r"endless of capillary-any version 1 .* larger than allowed"):
        fetch_file("endless", "capillary-any", "1", server, 5)


@pytest.mark.parametrize(
    ("name", "error", "text"), [("cut", OutageError, "does not answer"), ("gone", DataError, "there is no such file")]
)
def test_a_file_that_does_not_arrive_whole_is_no_file(
    offering: tuple[str, list[str]], name: str, error: type[CapillaryError], text: str
) -> None:
    """A transfer that broke off may be tried again; a file that went away is a definite answer."""
    uri, _ = offering
    server = Server(client=MlflowClient(uri), uri=uri, patience_s=0.0)
    with pytest.raises(error, match=text):
        fetch_file(name, "capillary-any", "1", server, 5)
