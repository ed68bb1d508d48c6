"""A server that answers a training's questions as MLflow does, or with a fault; for the faults of servers."""

import contextlib
import http.server
import json
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

INCOMPLETE = {"error_code": "INVALID_PARAMETER_VALUE", "message": "Missing value for required parameter"}
UNKNOWN = {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "Could not find experiment"}
PAGE = "<!doctype html><html><title>Sign in</title></html>"


@dataclass(frozen=True, kw_only=True)
class CannedAnswer:
    """One answer: a body that is not a string is sent as JSON."""

    status: int = 200
    body: Any = field(default_factory=dict)
    location: str = ""


def experiment(**changes: str) -> CannedAnswer:
    """The experiment as a healthy server describes it, but for `changes`."""
    usual = {"experiment_id": "7", "lifecycle_stage": "active", "artifact_location": "mlflow-artifacts:/7"}
    return CannedAnswer(body={"experiment": {**usual, **changes}})


@contextlib.contextmanager
def mlflow_double(
    *,
    asked: CannedAnswer | None = None,
    version: CannedAnswer | None = None,
    write: CannedAnswer | None = None,
    registry: CannedAnswer | None = None,
    login: CannedAnswer | None = None,
    tls: ssl.SSLContext | None = None,
) -> Iterator[tuple[str, list[str]]]:
    """(URL, the questions that came: method and path) of a server that is healthy where it is not told otherwise.

    `asked` answers the question for the experiment, `login` any other page.
    """
    questions: list[str] = []
    answers = {
        "experiments/get-by-name": asked or experiment(),
        "/version": version or CannedAnswer(body="3.17.0"),
        "model-versions/search": registry or CannedAnswer(),
    }

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._say(
                next((says for part, says in answers.items() if part in self.path), login or CannedAnswer(status=404))
            )

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self._say(write or CannedAnswer(status=400, body=INCOMPLETE))

        def _say(self, says: CannedAnswer) -> None:
            questions.append(f"{self.command} {self.path.partition('?')[0]}")
            content = (says.body if isinstance(says.body, str) else json.dumps(says.body)).encode()
            self.send_response_only(says.status)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Date", self.date_time_string())
            if says.location:
                self.send_header("Location", says.location)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            """Be quiet."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}", questions
    finally:
        server.shutdown()
        server.server_close()
