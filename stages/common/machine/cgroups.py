"""The control groups of this process (v1 and v2), and the short files in which the kernel says what they allow."""

from collections.abc import Iterator
from pathlib import Path


def groups_of(root: Path, controller: str) -> Iterator[Path]:
    """This process's cgroup for `controller` ("" is v2) and every group above it, up to the mount.

    In a container, /proc may name the host's path, while the mount shows the container's own group as its
    root; folders that do not exist are passed over, so the root is always looked at.
    """
    mount = root / "sys/fs/cgroup" / controller
    for line in lines_of(root / "proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            parts = path.strip("/").split("/") if path.strip("/") else []
            for end in range(len(parts), -1, -1):
                folder = mount.joinpath(*parts[:end])
                if folder.is_dir():
                    yield folder
            return


def first_line(file: Path) -> str | None:
    """The first line of `file`; None if there is none."""
    return next(iter(lines_of(file)), None)


def lines_of(file: Path) -> list[str]:
    """The lines of `file`; none if it is not there."""
    return file.read_text().splitlines() if file.is_file() else []
