"""A file that keeps what a program prints. A full disk costs lines of it, and never the program."""

import errno
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class LogFile:
    """`file`, written anew. A context manager."""

    def __init__(self, file: Path) -> None:
        self._file = file
        # without a buffer: what a full disk did not take would come back at each write, and at the end
        self._stream = file.open("wb", buffering=0)
        self._is_whole = True

    def write(self, chunk: bytes) -> None:
        """Add `chunk`, as far as the disk takes it; the first gap is said."""
        try:
            self._stream.write(chunk)
        except OSError as error:
            if error.errno not in FULL:
                raise
            if self._is_whole:
                sys.stderr.write(f"the log {self._file} lacks lines: {error.strerror}\n")
            self._is_whole = False

    def close(self) -> None:
        """Nothing follows."""
        self._stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
