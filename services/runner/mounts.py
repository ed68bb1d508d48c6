"""Which paths outlive this container, from the kernel's list of mounts. Standard library alone."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePath

MOUNTINFO = Path("/proc/self/mountinfo")
IN_MEMORY = {"tmpfs", "ramfs"}
# a volume without its own name: Docker removes it with the container (docker run --rm, docker compose run --rm)
_NAMELESS = re.compile(r"/volumes/[0-9a-f]{64}/_data(/|$)")


@dataclass(frozen=True)
class Mount:
    """A file system of `kind` at `point`, or the part `root` of it."""

    point: str
    root: str
    kind: str

    @property
    def lasts(self) -> bool:
        """Whether its files are there when the container has gone."""
        if self.point == "/" or _NAMELESS.search(self.root):
            return False
        return self.kind not in IN_MEMORY or self.root != "/"  # a part of one is a folder of the host's


def parse(text: str) -> list[Mount]:
    """The mounts in the text of /proc/self/mountinfo; a later one covers those before it."""
    rows = [line.split() for line in text.splitlines()]
    return [Mount(_plain(row[4]), _plain(row[3]), row[row.index("-") + 1]) for row in rows if "-" in row]


def mount_of(path: str, mounts: Iterable[Mount]) -> Mount:
    """The one that `path`, absolute and without links, is on."""
    holding = [mount for mount in mounts if PurePath(path).is_relative_to(mount.point)]
    return max(reversed(holding), key=lambda mount: len(PurePath(mount.point).parts), default=Mount("/", "/", "?"))


def _plain(field: str) -> str:
    """A field without the kernel's escapes (a blank is \\040)."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)
