"""Files of a version come through the MLflow server, whatever other way it offers."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest
from mlflow import MlflowClient

from stages.common.registered.files import fetch_file
from stages.common.tracking.server import Server

ANSWERS: dict[str, object] = {
    "/api/2.0/mlflow/registered-models/get": {"registered_model": {"name": "capillary-any"}},
    "/api/2.0/mlflow/model-versions/get-download-uri": {"artifact_uri": "mlflow-artifacts:/1/r/artifacts/model"},
    "/api/2.0/mlflow-artifacts/artifacts": {"files": [{"path": "weights", "is_dir": False, "file_size": 5}]},
    "/api/3.0/mlflow/server-info": {"multipart_downloads_enabled": True, "multipart_uploads_enabled": True},
    "/api/2.0/mlflow-artifacts/artifacts/1/r/artifacts/model/weights": b"bytes",
}


class _Offering(BaseHTTPRequestHandler):
    """An MLflow server that offers addresses of the store behind it."""

    asked: ClassVar[list[str]]

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.asked.append(path)
        answer = ANSWERS.get(path)
        self.send_response(200 if answer else 404)
        self.end_headers()
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
