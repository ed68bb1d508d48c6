"""A real Slurm cluster for tests: the one that this machine belongs to, or one that the shared double starts."""

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.support.parts import REPOSITORY, require

CONTROLLER_PID = Path("/var/tmp/slurm-host/run/slurmctld.pid")
DOUBLE = REPOSITORY.parent / "shared" / "slurm-host"


def cluster() -> None:
    """Skips the test where no cluster answers and none can be started here, fails it in CI."""
    if not _answers() and os.geteuid() == 0 and (DOUBLE / "up").is_file():
        subprocess.run([DOUBLE / "up"], env={**os.environ, "SLURM_HOST_NODES": "3"}, check=False, capture_output=True)
    require(_answers(), "a Slurm cluster")


def power_cut(node: str) -> None:
    """The node and all of its jobs die at once. Skips the test on a cluster that is not the double's."""
    require((DOUBLE / "node").is_file(), "a node that a test may cut off")
    subprocess.run([DOUBLE / "node", "down", node], check=True, capture_output=True)


def power_on(node: str) -> None:
    """The node comes back."""
    subprocess.run([DOUBLE / "node", "up", node], check=True, capture_output=True)


@contextlib.contextmanager
def without_controller() -> Iterator[None]:
    """The controller of the double is dead during the block; the jobs run on, and it then remembers them."""
    pid_file = CONTROLLER_PID
    require(pid_file.is_file(), "a controller that a test may kill")
    os.kill(int(pid_file.read_text()), signal.SIGKILL)
    try:
        yield
    finally:
        subprocess.run(["slurmctld"], check=True, capture_output=True)


def _answers() -> bool:
    if shutil.which("sbatch") is None:
        return False
    idle = ["sinfo", "--noheader", "--states=idle,mix,alloc", "--format=%N"]
    done = subprocess.run(idle, capture_output=True, text=True, check=False)
    return bool(done.stdout.strip())
