"""The log of a job as it grows on another node: shown as it comes, and kept like that of a container."""

import os
import stat
from pathlib import Path

from capillary.executors.container.logs import Log
from capillary.places.job import LOG_FILE
from stages.common.errors import DamagedError

_CHUNK_BYTES = 1 << 20
_STDOUT = 1


class Follower:
    """Reads the log in the folder of a job from its beginning. Use as: pump until the job is over, then close."""

    def __init__(self, folder: Path, repository: Path, address: str) -> None:
        self._file = folder / LOG_FILE
        self._at = 0
        self._log = Log(repository / ".capillary" / "logs", address)

    @property
    def kept(self) -> Path:
        """The file that keeps what was shown."""
        return self._log.file

    def pump(self) -> None:
        """Show what is new since the last call. Refuses a link or a pipe in place of the log."""
        try:
            descriptor = os.open(self._file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            return  # the job has not started
        except OSError as error:
            raise _foreign(self._file) from error
        with os.fdopen(descriptor, "rb") as stream:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise _foreign(self._file)
            stream.seek(self._at)
            while chunk := stream.read(_CHUNK_BYTES):
                self._at += len(chunk)
                self._log.take(_STDOUT, chunk)

    def catch_up(self) -> None:
        """Nothing to fetch: the nodes share this machine's disk."""

    def tell_to_end(self) -> None:
        """The node sees the mark in the folder of its job."""

    def close(self) -> None:
        """Nothing follows."""
        self._log.close()


def _foreign(file: Path) -> DamagedError:
    return DamagedError(
        "the log of a job is not a plain file",
        file=file,
        remedy="remove the folder of the job and repeat the command: a training resumes from its checkpoint",
    )
