"""Paths as the Docker daemon knows them: what this process sees may itself be mounted into its container."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from stages.common.errors import MachineError


@dataclass(frozen=True, kw_only=True)
class Mount:
    """`source`, a path on the daemon's machine, is at `destination` in the launcher's container.

    `source` is empty if the daemon's machine has no path for it (tmpfs, volumes of foreign drivers).
    """

    source: str
    destination: str


class HostPaths(Protocol):
    """Translates paths of this process to paths of the daemon's machine."""

    def translate(self, path: Path) -> str:
        """The daemon's name for `path`, links resolved; raises CapillaryError when it has none."""

    def below(self, path: Path, /) -> list[Mount]:
        """Mounts at places below `path`, which a bind of `path` alone would leave out."""


class SamePaths:
    """The launcher runs on the daemon's machine itself."""

    def translate(self, path: Path) -> str:
        """`path` without links."""
        return str(path.resolve())

    def below(self, _path: Path) -> list[Mount]:
        """Nothing: a bind on the machine itself takes the mounts below it along."""
        return []


class MountedPaths:
    """The launcher runs in a container whose mounts are known."""

    def __init__(self, container: str, mounts: Iterable[Mount]) -> None:
        self._container = container
        # the innermost mount decides
        self._mounts = sorted(mounts, key=lambda mount: len(PurePosixPath(mount.destination).parts), reverse=True)

    def translate(self, path: Path) -> str:
        """The daemon's path for `path` through the innermost mount that holds it."""
        real = path.resolve()
        for mount in self._mounts:
            if real.is_relative_to(mount.destination):
                if not mount.source:
                    break
                return str(PurePosixPath(mount.source) / real.relative_to(mount.destination))
        leads = "" if real == path.absolute() else f", which leads to {real}"
        folder = real if real.is_dir() else real.parent
        raise MachineError(
            f"containers of stages cannot see {path}{leads}: it exists only in this container ({self._container[:12]})",
            file=path,
            remedy=f"mount its folder from the host when this container starts: --volume HOST_FOLDER:{folder}",
        )

    def below(self, path: Path) -> list[Mount]:
        """Mounts of this container at places strictly below `path`."""
        real = path.resolve()
        inner = (mount for mount in self._mounts if mount.source and Path(mount.destination).is_relative_to(real))
        return [mount for mount in inner if Path(mount.destination) != real]


def mounts_of(inspected: dict[str, Any]) -> list[Mount]:
    """The mounts in the daemon's answer to `inspect` of a container."""
    return [
        Mount(source="" if entry["Type"] == "tmpfs" else entry.get("Source", ""), destination=entry["Destination"])
        for entry in inspected["Mounts"]
    ]
