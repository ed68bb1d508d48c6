"""Podman in the daemon's place: its service speaks Docker's API on a socket, and needs neither root nor a daemon."""

import os
import shutil
import socket as sockets
import stat
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from stages.common.errors import ServiceError

PROGRAM = "podman"
# the service ends by itself when nobody has spoken to it for so long
IDLE_S = 600
PATIENCE_S = 20.0
_REMEDY = (
    "install podman, start its service (systemctl --user start podman.socket), or name its socket in CONTAINER_HOST "
    "(unix:///run/user/1000/podman/podman.sock)"
)


def with_address(variables: Mapping[str, str]) -> dict[str, str]:
    """`variables` with the address of Podman's socket as DOCKER_HOST; starts the service if there is none.

    Raises ServiceError if it cannot be started.
    """
    return {**variables, "DOCKER_HOST": variables.get("CONTAINER_HOST") or f"unix://{_socket(variables)}"}


def _socket(variables: Mapping[str, str]) -> Path:
    usual = usual_socket(variables, os.geteuid())
    if usual.is_socket():
        return usual
    return _start(_own_folder(variables) / "podman.sock", variables)


def usual_socket(variables: Mapping[str, str], uid: int) -> Path:
    """Where the system or the user's session keeps the socket."""
    if uid == 0:
        return Path("/run/podman/podman.sock")
    return Path(variables.get("XDG_RUNTIME_DIR", f"/run/user/{uid}"), "podman", "podman.sock")


def _own_folder(variables: Mapping[str, str]) -> Path:
    """A folder of this user alone: whoever may write to the socket may do what the user may."""
    folder = Path(variables.get("TMPDIR") or tempfile.gettempdir(), f"capillary-podman-{os.geteuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise ServiceError(
            "the folder for Podman's socket belongs to another user, or others can enter it",
            file=folder,
            remedy="remove it, or set TMPDIR to a folder of your own",
        )
    return folder


def _start(socket: Path, variables: Mapping[str, str]) -> Path:
    """Start the service at `socket`, unless another launcher has."""
    if shutil.which(PROGRAM, path=variables.get("PATH")) is None:
        raise ServiceError("podman is not on PATH", remedy=_REMEDY)
    if _answers(socket):
        return socket
    socket.unlink(missing_ok=True)
    argv = [PROGRAM, "system", "service", f"--time={IDLE_S}", f"unix://{socket}"]
    with (socket.parent / "log").open("wb") as log:
        service = subprocess.Popen(
            argv, env=dict(variables), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    deadline = time.monotonic() + PATIENCE_S
    while not _answers(socket):
        if service.poll() is not None or time.monotonic() > deadline:
            words = (socket.parent / "log").read_text(errors="replace").strip()
            raise ServiceError("Podman's service does not start", value=words or None, remedy=_REMEDY)
        time.sleep(0.05)
    return socket


def _answers(address: Path) -> bool:
    with sockets.socket(sockets.AF_UNIX) as attempt:
        return attempt.connect_ex(str(address)) == 0
