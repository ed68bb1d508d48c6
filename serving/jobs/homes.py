"""One folder shared by several services, such as a network disk below the tasks of a cluster.

Each service has a home in it, locked while its process lives: the folder itself, or one below more/. Only its owner
writes to a home. A home whose process ended is free; whoever finds it first takes its jobs over. The lock is the
kernel's, so it ends with the process, however that ends; NFS 4 keeps it for other machines, too.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import IO

from stages.common.errors import UsageError
from stages.common.lifetimes.locks import take

MOST = 64
LOCK = "lock"


class Homes:
    """The homes below `folder`. `own` is this process's; raises CapillaryError when all are taken."""

    def __init__(self, folder: Path) -> None:
        self._paths = [folder, *(folder / "more" / f"{number:02}" for number in range(1, MOST))]
        self.own, self._lock = self._take()

    def others(self) -> list[Path]:
        """The homes of other services, those that ended among them."""
        return [path for path in self._paths if path != self.own and (path / LOCK).is_file()]

    def abandoned(self) -> Iterator[Path]:
        """Homes whose process ended; each is this process's until the next one is asked for."""
        for path in self.others():
            lock = take(path / LOCK, permissions=0o600)
            if lock is not None:
                try:
                    yield path
                finally:
                    lock.close()

    def close(self) -> None:
        """Let another process have the home."""
        self._lock.close()

    def _take(self) -> tuple[Path, IO[bytes]]:
        for path in self._paths:
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
            if (lock := take(path / LOCK, permissions=0o600)) is not None:
                return path, lock
        raise UsageError(
            f"{MOST} services already use this folder",
            file=self._paths[0],
            remedy="end some of them, or give this one its own folder in CAPILLARY_SERVE_FOLDER",
        )
