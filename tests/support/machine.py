"""Parts of a machine with a fault in them: a server, a port, an nvidia-smi, NVML's library."""

import contextlib
import http.server
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

GIB = 1 << 30


@contextlib.contextmanager
def http_server(status: int = 200, date: str | None = None, login: str | None = None) -> Iterator[str]:
    """A server at the URL that it yields: always `status`, with `date` as its Date header.

    To a GET it describes an experiment, as MLflow would, and a POST it calls incomplete.
    With `login` (an Authorization header) it answers 401 to everybody else.
    """

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = login is None or self.headers.get("Authorization") == login
            self.send_response_only(status if known else 401)
            self.send_header("Date", date or self.date_time_string())
            self._answer(b'{"experiment": {"experiment_id": "1", "lifecycle_stage": "active"}}')

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response_only(400)
            self._answer(b'{"error_code": "INVALID_PARAMETER_VALUE"}')

        def _answer(self, body: bytes) -> None:
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Be quiet."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@contextlib.contextmanager
def tcp_server(answer: bytes) -> Iterator[int]:
    """A port on which a server says `answer` to whatever comes first."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listening.accept()
                    with connection:
                        connection.recv(64)
                        connection.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        yield int(listening.getsockname()[1])
        listening.shutdown(socket.SHUT_RDWR)


def dead_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return int(trial.getsockname()[1])


def fake_smi(folder: Path, *lines: str, code: int = 0) -> None:
    """A program nvidia-smi in `folder` that prints `lines` and ends with `code`."""
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "nvidia-smi"
    printed = "\n".join(f"echo '{line}'" for line in lines)
    program.write_text(f"#!/bin/sh\n{printed}\nexit {code}\n")
    program.chmod(0o755)


class FakeNvml(ModuleType):
    """NVML's module, as far as it is used: two GPUs, or `fault`, the number of the error that nvmlInit raises."""

    NVML_ERROR_LIBRARY_NOT_FOUND = 12
    NVML_ERROR_DRIVER_NOT_LOADED = 9
    NVML_ERROR_LIB_RM_VERSION_MISMATCH = 18
    NVML_ERROR_NOT_SUPPORTED = 3

    class NVMLError(Exception):
        """With the number of the error in `value`, as NVML's own."""

        def __init__(self, value: int) -> None:
            super().__init__(f"NVML error {value}")
            self.value = value

    def __init__(self, fault: int | None = None, memory_fault: int | None = None) -> None:
        super().__init__("pynvml")
        self.fault = fault
        self.memory_fault = memory_fault
        self.open = 0

    def nvmlInit(self) -> None:
        if self.fault is not None:
            raise self.NVMLError(self.fault)
        self.open += 1

    def nvmlShutdown(self) -> None:
        self.open -= 1

    def nvmlSystemGetDriverVersion(self) -> str:
        return "580.65.06"

    def nvmlDeviceGetCount(self) -> int:
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> SimpleNamespace:
        if self.memory_fault is not None:
            raise self.NVMLError(self.memory_fault)
        return SimpleNamespace(total=8 * GIB, free=(handle + 1) * GIB)

    def nvmlDeviceGetUUID(self, handle: int) -> str:
        return f"GPU-{handle}abc"

    def nvmlDeviceGetName(self, handle: int) -> str:
        return f"Model {handle}"
