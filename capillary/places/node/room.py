"""Whether a job ended because its node's own disk is full: another node may have the space that this one lacks."""

import errno
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from stages.common.errors import ExitCode

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_WORDS = tuple(os.strerror(number).encode() for number in FULL)  # of whatever program meets it
PROBE_BYTES = 16 << 20
_TAIL_BYTES = 1 << 20
# what a full disk ends with; the other codes name another fault, which the job has on every node
_CODES = frozenset({ExitCode.UNEXPECTED, ExitCode.MACHINE, ExitCode.PREFLIGHT})
_SIGNALLED = 128


def scratch_folder(variables: Mapping[str, str]) -> Path:
    """Where this node's programs keep temporary files, whether or not there is space."""
    named = (variables[name] for name in ("TMPDIR", "TEMP", "TMP") if variables.get(name))
    return Path(next(named, "/tmp"))  # noqa: S108 - it is only looked at


def is_full(folder: Path) -> bool:
    """Whether `folder` does not take a small file, because of its disk or of a quota."""
    try:
        with tempfile.TemporaryFile(dir=folder) as probe:
            os.posix_fallocate(probe.fileno(), 0, PROBE_BYTES)
    except OSError as error:
        return error.errno in FULL
    return False


def lacked_space(code: int, scratch: Path, log: Path, since: int) -> bool:
    """Whether a job that ended with `code` found a full disk: its `log` says so after the byte `since`, or `scratch`
    is full now.
    """
    if code not in _CODES and code <= _SIGNALLED:
        return False
    return is_full(scratch) or any(words in _tail(log, since) for words in _WORDS)


def tells_of_space(error: BaseException | None) -> bool:
    """Whether `error`, or what caused it, is a disk's answer that it is full."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in FULL:
            return True
        error = error.__cause__
    return False


def size_of(log: Path) -> int:
    """How long the log of former attempts is."""
    return log.stat().st_size if log.is_file() else 0


def _tail(log: Path, since: int) -> bytes:
    if not log.is_file():
        return b""
    with log.open("rb") as stream:
        stream.seek(max(since, size_of(log) - _TAIL_BYTES))
        return stream.read()
