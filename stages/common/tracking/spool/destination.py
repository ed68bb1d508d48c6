"""Where spools are sent, and what makes registered models of their folders there."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from stages.common.tracking.server import Server


class Published(Protocol):
    """What a publisher returns (publishing.py)."""

    @property
    def fingerprint(self) -> str:
        """Of what was published."""

    @property
    def name(self) -> str:
        """The registered model."""

    @property
    def version(self) -> str:
        """Its number, empty where the server has no registry."""

    @property
    def weights_sha256(self) -> str:
        """Of the network, empty where it is none."""


# (where to, a folder, what is called with the patience that the next answer may need); done before the folder is handed
# to its publisher, perhaps several times. It never raises.
First = Callable[["Destination", Path, Callable[[float], None]], None]


def nothing_first(_to: "Destination", _folder: Path, _answered: Callable[[float], None]) -> None:
    """Folders that need nothing else."""


@dataclass(frozen=True, kw_only=True)
class Destination:
    """Where a spool is sent. `artifact_root` is for a store that is a file; `publishers` are publishing.py's.

    `first` is called before each of them.
    """

    server: Server
    artifact_root: str | None
    receipts: Path
    publishers: Mapping[str, Callable[[Server, str, Path], Published]]
    first: First = nothing_first
