"""An HTTP proxy in front of a real MLflow server that asks for a login and behaves badly on demand."""

import base64
import contextlib
import http.client
import http.server
import json
import random
import socket
import threading
from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import Any

NOT_PASSED_ON = {"host", "connection", "authorization", "transfer-encoding", "content-length"}
REGISTRY = ("/registered-models/", "/model-versions/")
FAILING_SHARE = 0.3
SLOW_S = 10.0


class Fault(StrEnum):
    """How a server may behave."""

    NONE = "none"
    DEAD = "dead"
    BLACK_HOLE = "black hole"
    FAILING = "30 % 503s"
    REFUSING = "every login refused"
    SLOW = "10 s latency"
    NO_REGISTRY = "no model registry"
    NO_ALIASES = "no aliases"


class FaultyServer:
    """The server at port `target` behind a login. `fault` is what it does to requests now."""

    def __init__(self, target: int, user: str, token: str) -> None:
        self.target, self.login = target, basic(user, token)
        self.slow_s = SLOW_S
        self.requests: list[str] = []
        self._fault, self._changed = Fault.NONE, threading.Condition()
        self._at_points: Callable[[], None] | None = None
        self._draw = random.Random(15)
        handler = type("Handler", (_Handler,), {"faulty": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    @property
    def url(self) -> str:
        """Where clients reach it."""
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def fault(self) -> Fault:
        """What it does to requests now."""
        return self._fault

    @fault.setter
    def fault(self, fault: Fault) -> None:
        with self._changed:
            self._fault = fault
            self._changed.notify_all()

    def at_first_points(self, act: Callable[[], None]) -> None:
        """Call `act` once, when the first points of an epoch arrive and before they are answered."""
        self._at_points = act

    def saw(self, path: str, body: bytes) -> None:
        """Note a request."""
        self.requests.append(path.partition("?")[0])
        if self._at_points is not None and path.endswith("/runs/log-batch") and _has_results(body):
            act, self._at_points = self._at_points, None
            act()

    def is_drawn(self) -> bool:
        """Whether this request is one of those that fail."""
        return self._draw.random() < FAILING_SHARE

    def hang(self) -> None:
        """Return when it is a black hole no more."""
        with self._changed:
            self._changed.wait_for(lambda: self._fault is not Fault.BLACK_HOLE)

    def pause(self) -> None:
        """Return after the latency, or when it is slow no more."""
        with self._changed:
            self._changed.wait_for(lambda: self._fault is not Fault.SLOW, self.slow_s)

    def stop(self) -> None:
        """End; nobody is kept waiting."""
        self.fault = Fault.DEAD
        self._server.shutdown()
        self._server.server_close()


def basic(user: str, token: str) -> str:
    """The header of a login."""
    return f"Basic {base64.b64encode(f'{user}:{token}'.encode()).decode()}"


def _has_results(batch: bytes) -> bool:
    """Whether it has points of a stage's own, beside those of the machine's load."""
    return any(not point["key"].startswith("system/") for point in json.loads(batch).get("metrics", ()))


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed, or a connection that was cut."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    faulty: FaultyServer

    def handle_any(self) -> None:
        body = self._body()
        self.faulty.saw(self.path, body)
        if self.faulty.fault is Fault.BLACK_HOLE:
            self.faulty.hang()
            self._cut()
        elif self.faulty.fault is Fault.DEAD:
            self._cut()
        else:
            if self.faulty.fault is Fault.SLOW:
                self.faulty.pause()
            self._answer(*self._respond(body))

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = handle_any

    def _respond(self, body: bytes) -> tuple[int, bytes, list[tuple[str, str]]]:
        fault = self.faulty.fault
        if fault is Fault.FAILING and self.faulty.is_drawn():
            return 503, b"service unavailable", []
        if fault is Fault.REFUSING or self.headers.get("Authorization", "") != self.faulty.login:
            return 401, b'{"error": "unauthorized"}', []
        lacks_registry = fault is Fault.NO_REGISTRY and any(part in self.path for part in REGISTRY)
        if lacks_registry or (fault is Fault.NO_ALIASES and "/registered-models/alias" in self.path):
            return 404, b'{"error": "unsupported endpoint"}', [("Content-Type", "application/json")]
        return self._forward(body)

    def _forward(self, body: bytes) -> tuple[int, bytes, list[tuple[str, str]]]:
        upstream = http.client.HTTPConnection("127.0.0.1", self.faulty.target, timeout=120)
        headers = {key: value for key, value in self.headers.items() if key.lower() not in NOT_PASSED_ON}
        upstream.request(self.command, self.path, body, {**headers, "Content-Length": str(len(body))})
        with upstream.getresponse() as reply:
            return reply.status, reply.read(), reply.getheaders()

    def _answer(self, status: int, body: bytes, headers: list[tuple[str, str]]) -> None:
        self.send_response_only(status)
        for key, value in headers:
            if key.lower() not in NOT_PASSED_ON:
                self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _cut(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, format: str, *args: object) -> None:
        """Be quiet."""


@contextlib.contextmanager
def faulty_server(target: int, user: str, token: str) -> Iterator[FaultyServer]:
    """One in front of the server at port `target`, healthy at first."""
    server = FaultyServer(target, user, token)
    try:
        yield server
    finally:
        server.stop()
