"""Whether this process runs in a container, and the sign that says so."""

from pathlib import Path

_FILES = (".dockerenv", "run/.containerenv")  # Docker's and Podman's
_GROUPS = ("docker", "containerd", "kubepods", "libpod", "lxc", "garden")


def container_sign(top: Path = Path("/")) -> str | None:
    """In words: the file that Docker or Podman leaves, or the first process's control group. None outside of one."""
    if found := next((name for name in _FILES if (top / name).exists()), None):
        return f"/{found} exists"
    groups = text_of(top / "proc/1/cgroup")
    word = next((word for word in _GROUPS if word in groups), None)
    return None if word is None else f"the first process is in a cgroup of {word}"


def text_of(file: Path) -> str:
    """The text of `file`; empty if there is none or it may not be read (some of the kernel's files are root's)."""
    try:
        return file.read_text(errors="replace")
    except OSError:
        return ""
