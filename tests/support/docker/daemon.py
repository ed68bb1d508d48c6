"""The Docker daemon of this machine as a process, for tests that restart it."""

import contextlib
import os
import subprocess
import time
from pathlib import Path

import docker
import psutil
import pytest
from docker.errors import DockerException

from tests.support.docker.containers import client

PID_FILE = Path("/var/run/docker.pid")
LOG = Path("/var/log/dockerd.log")
WAIT_S = 60


def daemon_process() -> psutil.Process:
    """The daemon, if a test may restart it; skips the test with the reason otherwise.

    It may where it is root, the daemon was started by hand (a service manager would start a second one) and nobody
    else's containers run: those would be stopped.
    """
    client()
    if os.geteuid() != 0 or not PID_FILE.is_file():
        pytest.skip("needs root and a Docker daemon of this machine, to restart it")
    process = psutil.Process(int(PID_FILE.read_text()))
    if process.name() != "dockerd" or "docker.service" in Path(f"/proc/{process.pid}/cgroup").read_text():
        pytest.skip("needs a Docker daemon that no service manager keeps, to restart it")
    return process


def wait_for_no_other_containers(project: Path, within_s: float) -> None:
    """Until nothing but containers of `project` runs; skips the test, and in CI fails it, when somebody else's do."""
    deadline = time.monotonic() + within_s
    while others := [c["Names"][0] for c in client().api.containers() if not _is_of(c, project)]:
        if time.monotonic() > deadline:
            reason = f"a restart of the daemon would stop containers that are not this test's: {', '.join(others)}"
            pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
        time.sleep(1)


def _is_of(container: dict[str, dict[str, str]], project: Path) -> bool:
    return container["Labels"].get("capillary.project") == str(project)


def restart(process: psutil.Process) -> None:
    """Stop the daemon as a service manager would, and start it again with its own command line and environment."""
    argv, environment, folder = process.cmdline(), process.environ(), process.cwd()
    process.terminate()
    with contextlib.suppress(psutil.NoSuchProcess):
        process.wait(WAIT_S)
    with LOG.open("ab") as log:
        # in its own session: it continues when the tests are over
        subprocess.run(["setsid", "--fork", *argv], cwd=folder, env=environment, stdout=log, stderr=log, check=True)
    deadline = time.monotonic() + WAIT_S
    while not _answers():
        assert time.monotonic() < deadline, f"the daemon did not come up again: {LOG}"
        time.sleep(0.3)


def _answers() -> bool:
    try:
        return bool(docker.from_env().ping())
    except DockerException:
        return False
