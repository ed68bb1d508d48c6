"""Whether this process runs in a container."""

from pathlib import Path

MARKS = ("docker", "containerd", "kubepods", "libpod", "lxc")


def in_container(top: Path = Path("/")) -> bool:
    """By the file that Docker or Podman leaves, or by the names of the first process's control groups."""
    if (top / ".dockerenv").exists() or (top / "run/.containerenv").exists():
        return True
    groups = top / "proc/1/cgroup"
    return groups.is_file() and any(mark in groups.read_text() for mark in MARKS)
