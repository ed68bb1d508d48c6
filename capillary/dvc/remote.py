"""DVC's remote as what a head and its nodes have in common: content by its hash, and a mailbox per job."""

import contextlib
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, TypeVar

from dvc.exceptions import DvcException

from capillary.dvc.content import RemoteContent
from capillary.secret_names import DVC_SECRETS
from stages.common.errors import CapillaryError, ServiceError, UsageError
from stages.common.program.messages import get_logger
from stages.common.text import without_login

log = get_logger(__name__)

MAILBOXES = "capillary-jobs"
MOST_BYTES = 1 << 26  # of a log, or of a word between a job and its head
FIRST_PAUSES_S, PAUSE_S = (2.0, 5.0, 10.0, 20.0, 40.0), 60.0
Result = TypeVar("Result")


@contextlib.contextmanager
def _silence_as_os_error() -> Iterator[None]:
    """A remote that does not answer raises an OSError in the block, of whatever kind it is: botocore's and Azure's own
    errors are none.
    """
    try:
        yield
    except (CapillaryError, DvcException, OSError):
        raise
    except Exception as error:
        if type(error).__module__ == "builtins":  # a defect here, which no waiting mends
            raise
        raise ConnectionError(f"{type(error).__name__}: {error}") from error


class Remote(RemoteContent):
    """The default remote of the DVC project `root`, its cache, and a mailbox per job in it.

    If it does not answer, its methods raise OSError or DvcException.
    """

    def __init__(self, root: Path) -> None:
        try:
            super().__init__(root)
        except DvcException as error:
            raise _without_remote(root, error) from error

    def config(self) -> dict[str, str]:
        """The settings of the remote that Git tracks, and so hold no secret; a folder by its whole path."""
        kept: dict[str, Any] = self._repo.config.load_one("repo")["remote"].get(self.name, {})
        if "url" not in kept:
            raise UsageError(
                f"the remote {self.name} is not in .dvc/config, which goes along with jobs",
                file=".dvc/config.local",
                remedy=f"dvc remote add --default {self.name} URL, and leave only its secrets in .dvc/config.local",
            )
        return {key: str(value) for key, value in kept.items() if key not in DVC_SECRETS}

    @_silence_as_os_error()
    def push(self, digests: Collection[str]) -> None:
        """Send content of the local cache to the remote, of folders with all that is in them."""
        super().push(digests)

    @_silence_as_os_error()
    def pull(self, digests: Collection[str]) -> None:
        """Fetch content of the remote into the local cache."""
        super().pull(digests)

    @_silence_as_os_error()
    def write(self, box: str, name: str, content: bytes) -> None:
        """Put a file into the mailbox `box`."""
        self.write_file(content, MAILBOXES, box, name)

    @_silence_as_os_error()
    def read(self, box: str, name: str, most_bytes: int = MOST_BYTES) -> bytes | None:
        """A file of the mailbox `box`, or so much of it as a job writes; None if it is not there."""
        return self.read_file(MAILBOXES, box, name, most_bytes=most_bytes)

    @_silence_as_os_error()
    def forget(self, box: str, *, keep: str = "") -> None:
        """Remove the mailbox `box`; the file `keep` of it stays."""
        place = self._place(MAILBOXES, box)
        if not self._fs.exists(place):
            return
        for file in list(self._fs.find(place)):
            if self._fs.name(file) != keep:
                self._fs.rm_file(file)
        if not keep and self._fs.exists(place) and self._fs.protocol == "local":
            self._fs.rm(place, recursive=True)  # an object store has no folders


def silence_words(error: Exception) -> str:
    """What is said of a remote that did not answer: some libraries repeat its URL with user and password."""
    return f"the remote does not answer ({without_login(str(error))})"


def patiently(act: Callable[[], Result], minutes: int = 4) -> Result:
    """What `act` returns; tried again for about so many `minutes` while the remote does not answer."""
    for pause_s in (*FIRST_PAUSES_S, *[PAUSE_S] * minutes):
        try:
            return act()
        except (OSError, DvcException) as error:
            log.warning(f"{silence_words(error)}; trying again in {pause_s:g} s")
            time.sleep(pause_s)
    try:
        return act()
    except (OSError, DvcException) as error:
        raise ServiceError(
            "DVC's remote does not answer",
            value=without_login(str(error)),
            remedy="check it with capillary doctor, then repeat the command, which finds the job again",
        ) from error


def _without_remote(root: Path, error: Exception) -> CapillaryError:
    return UsageError(
        "nodes without a shared disk need DVC's remote",
        file=root / ".dvc/config",
        value=without_login(str(error)),
        remedy="dvc remote add --default NAME URL (docs/remotes.md), or `files: shared` in configs/slurm.yaml",
    )
