"""What a stage's container prints: shown as it comes, and kept a file per run."""

import errno
import os
import re
import sys
import time
from pathlib import Path
from typing import BinaryIO

from capillary.log_file import FULL, LogFile

KEPT_RUNS = 10
STDERR = 2
_TAIL_BYTES = 65536
_NOBODY_READS = {errno.EIO, errno.EPIPE}


class Log:
    """The log of one run; also remembers the last of what the stage printed on stderr."""

    def __init__(self, folder: Path, address: str) -> None:
        """Open a new file in `folder`, and remove all but the last runs of `address` from it."""
        folder.mkdir(parents=True, exist_ok=True)
        name = address.replace("/", "-")
        is_run = re.compile(rf"{re.escape(name)}-\d{{8}}T\d{{6}}-\d+\.log")
        former = sorted(file for file in folder.iterdir() if is_run.fullmatch(file.name))
        for old in former[: max(0, len(former) - KEPT_RUNS + 1)]:
            old.unlink(missing_ok=True)
        self.file = folder / f"{name}-{time.strftime('%Y%m%dT%H%M%S')}-{os.getpid()}.log"
        self._kept = LogFile(self.file)
        self.tail = b""
        self._is_shown = True

    def take(self, stream: int, chunk: bytes) -> None:
        """Show and keep what came on the stage's stdout (1) or stderr (2)."""
        self._kept.write(chunk)
        if stream == STDERR:
            self.tail = (self.tail + chunk)[-_TAIL_BYTES:]
        if self._is_shown:
            self._show(sys.stderr.buffer if stream == STDERR else sys.stdout.buffer, chunk)

    def _show(self, out: BinaryIO, chunk: bytes) -> None:
        """Show `chunk`; after a closed terminal or a reader that went away, show nothing more and let the stage run.

        It also runs on where the output goes to a file on a full disk.
        """
        try:
            out.write(chunk)
            out.flush()
        except OSError as error:
            if error.errno not in _NOBODY_READS | FULL:
                raise
            self._is_shown = error.errno in FULL

    def close(self) -> None:
        """Nothing follows."""
        self._kept.close()


def not_found(tail: bytes) -> str | None:
    """The path of the last FileNotFoundError that a Python program printed."""
    found = re.findall(r"No such file or directory: '([^']+)'", tail.decode(errors="replace"))
    return found[-1] if found else None
