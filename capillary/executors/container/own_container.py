"""Which container this process runs in, if any, on cgroup v1 and v2."""

import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
from docker.errors import NotFound

_ID = r"[0-9a-f]{64}"
# Docker writes these for each container, into a folder of the container's id
_GIVEN_FILES = {"/etc/hostname", "/etc/hosts", "/etc/resolv.conf"}


def inspect_own(api: docker.APIClient, proc: Path = Path("/proc/self")) -> dict[str, Any] | None:
    """The daemon's description of the container that this process runs in.

    None on a machine, and in a container that this daemon does not know: then the daemon runs in here, too.
    """
    for candidate in candidates(proc):
        try:
            inspected: dict[str, Any] = api.inspect_container(candidate)
        except NotFound:
            continue
        return inspected
    return None


def candidates(proc: Path) -> Iterator[str]:
    """Possible ids of the own container, the surest first: from the mounts, from cgroup v1, the host name."""
    found = [*ids_in_mountinfo(_read(proc / "mountinfo")), *ids_in_cgroup(_read(proc / "cgroup"))]
    yield from dict.fromkeys(found)
    if re.fullmatch(r"[0-9a-f]{12}", socket.gethostname()):
        yield socket.gethostname()


def ids_in_mountinfo(text: str) -> list[str]:
    """Ids in the sources of /etc/hostname, /etc/hosts and /etc/resolv.conf.

    Other lines do not count: on a Docker host they name the containers that run on it.
    """
    rows = (line.split() for line in text.splitlines())
    sources = (row[3] for row in rows if len(row) > 4 and row[4] in _GIVEN_FILES)
    return [match[1] for source in sources if (match := re.search(rf"/({_ID})/[^/]+$", source))]


def ids_in_cgroup(text: str) -> list[str]:
    """Ids at the ends of cgroup paths: /docker/<id>, /system.slice/docker-<id>.scope."""
    return [match[1] for line in text.splitlines() if (match := re.search(rf"[/-]({_ID})(?:\.scope)?$", line))]


def _read(file: Path) -> str:
    return file.read_text() if file.is_file() else ""
