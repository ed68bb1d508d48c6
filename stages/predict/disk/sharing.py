"""Room on the disk and in memory for several stacks that are in work at the same time."""

import contextlib
import shutil
import threading
from pathlib import Path

from stages.common.machine.memory import memory_room
from stages.predict.disk.scratch import Scratch

# Some files are decoded whole, with a copy to compute with. A stack whose voxels take more than a quarter of the memory
# that is left is read while nothing else is in work, so that the claim is checked against all of it.
MEMORY_SHARE = 0.25


class SharedRoom:
    """What stacks in work may still write, by the folder that each has to itself."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._needed: dict[Path, int] = {}
        self._closed = False

    def enter(self, folder: Path, scratch: Scratch, needed: int, decoded: int) -> None:
        """Wait until there is room for `needed` bytes in `folder` next to the other stacks, or none is in work.

        `decoded` is the bytes of the stack's voxels. Raises CapillaryError when even the whole disk has no room.
        """
        with self._changed:
            while self._needed and not self._closed and not self._fits(folder, needed, decoded):
                self._changed.wait()
            scratch.refuse_full_disk(needed)
            self._needed[folder] = needed

    def leave(self, folder: Path) -> None:
        """The stack of `folder` is no longer in work."""
        with self._changed:
            self._needed.pop(folder, None)
            self._changed.notify_all()

    def close(self) -> None:
        """Let nobody wait any longer: the run ends."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _fits(self, folder: Path, needed: int, decoded: int) -> bool:
        pending = sum(max(0, most - _written(other)) for other, most in self._needed.items())
        is_on_disk = needed + pending <= shutil.disk_usage(folder).free
        return is_on_disk and decoded <= MEMORY_SHARE * memory_room().bytes


def _written(folder: Path) -> int:
    """Bytes on the disk in `folder`; a file of zeros that was never written takes none."""
    total = 0
    for file in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):  # its user has just removed it
            total += file.stat().st_blocks * 512
    return total
