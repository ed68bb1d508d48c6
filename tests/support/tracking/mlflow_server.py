"""A real MLflow server, of this environment's version or an old one, on a port of its own."""

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.support.ports import free_port
from tests.support.warm import warm_environment, warm_python

START_S = 500  # on a machine that is busy with other tests
# 2.7.1, where the stand-in for a hosted registry is installed: the tests of the registry install it
OLDEST = Path("/var/tmp/dagshub-double/venv/bin/mlflow")
# the program of another version, to try one by hand
CHOSEN = os.environ.get("CAPILLARY_TEST_MLFLOW")


def old_program() -> Path | None:
    """The program `mlflow` of the oldest supported server, or of the one chosen by hand; None if it is not here."""
    chosen = Path(CHOSEN) if CHOSEN else OLDEST
    return chosen if chosen.exists() else None


@contextlib.contextmanager
def mlflow_server(folder: Path, database: Path | None = None, program: Path | None = None) -> Iterator[str]:
    """Its address. The database is `database`, else one in `folder`, which also gets the artifacts and the log.

    `program` is the `mlflow` of another version.
    """
    port, log = free_port(), folder / "server.log"
    command = [warm_python(), "-m", "mlflow"] if program is None else [str(program)]
    argv = [*command, "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    argv += ["--backend-store-uri", f"sqlite:///{database or folder / 'server.db'}"]
    argv += ["--artifacts-destination", str(folder / "artifacts")]
    # without it, seven more processes import MLflow, as the image of services/mlflow says
    environment = warm_environment(MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false", GIT_PYTHON_REFRESH="quiet")
    if program is not None:  # which starts gunicorn by its name
        environment["PATH"] = f"{program.parent}{os.pathsep}{environment['PATH']}"
        environment.pop("PYTHONPATH", None)
    with log.open("wb") as stream:
        process = subprocess.Popen(
            argv, stdout=stream, stderr=stream, cwd=folder, env=environment, start_new_session=True
        )
    try:
        _wait(f"http://127.0.0.1:{port}", process, log)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()  # which ends its worker, too
        process.wait(60)


def _wait(address: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        with contextlib.suppress(requests.RequestException):
            if requests.get(f"{address}/health", timeout=5).ok:
                return
        time.sleep(0.2)
    pytest.fail(f"no server: {log.read_text()}")
