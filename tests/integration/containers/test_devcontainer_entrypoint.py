"""The DevContainer's entry point, in a container of the base image: what root prepares, its user can use."""

import subprocess

from tests.support.docker.containers import client
from tests.support.parts import REPOSITORY

ENTRYPOINT = REPOSITORY / ".devcontainer" / "entrypoint.sh"
BASE = "python:3.11-slim-bookworm"
SOCKET = "/var/run/docker.sock"
# the group's number is one that no group of the image has, whatever the daemon of this machine uses
PREPARE = f"mkdir -p /var/run && python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"{SOCKET}\")'"
AS_DEVELOPER = f"test -w {SOCKET} && touch $DEVCONTAINER_VENV/made && id -Gn && id -un"


def _enter(gid: int) -> list[str]:
    """What `developer` sees in a container whose socket belongs to the group `gid`."""
    client()
    script = f"useradd developer && {PREPARE} && chown 0:{gid} {SOCKET} && chmod 660 {SOCKET} && mkdir /venv && "
    script += f"exec sh /entrypoint.sh setpriv --reuid developer --regid developer --init-groups sh -c '{AS_DEVELOPER}'"
    mount = f"{ENTRYPOINT}:/entrypoint.sh:ro"
    argv = [
        "docker",
        "run",
        "--rm",
        "--network",
        "none",
        "-e",
        "DEVCONTAINER_VENV=/venv",
        "-v",
        mount,
        BASE,
        "sh",
        "-c",
    ]
    done = subprocess.run([*argv, script], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_the_user_may_use_a_socket_of_the_machine_s_group() -> None:
    """Its number is the machine's, and unknown in the image; a new volume for .venv is the user's own."""
    assert _enter(4711) == ["developer", "docker-socket", "developer"]


def test_the_user_may_use_a_socket_of_root_s_group() -> None:
    """As Docker Desktop has it."""
    assert _enter(0) == ["developer", "root", "developer"]
