"""DVC's remote as what a head and its nodes have in common: content by its hash, and a mailbox per job."""

import time
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any, TypeVar

from dvc.exceptions import DvcException
from dvc.fs import LocalFileSystem
from dvc.repo import Repo
from dvc_data.hashfile.build import build
from dvc_data.hashfile.hash_info import HashInfo
from dvc_data.hashfile.transfer import transfer

from capillary.dvc.objects import is_digest, listed
from capillary.secret_names import DVC_SECRETS
from stages.common.errors import CapillaryError, DataError, ExitCode, ServiceError
from stages.common.program.messages import get_logger

log = get_logger(__name__)

MAILBOXES = "capillary-jobs"
HASH = "md5"
MOST_BYTES = 1 << 26  # of a log, or of a word between a job and its head
FIRST_PAUSES_S, PAUSE_S = (2.0, 5.0, 10.0, 20.0, 40.0), 60.0
Result = TypeVar("Result")


class Remote:
    """The default remote of the DVC project `root`, and its cache."""

    def __init__(self, root: Path) -> None:
        self._repo = Repo(str(root))
        try:
            remote = self._repo.cloud.get_remote(command="push")
        except DvcException as error:
            raise _without_remote(root, error) from error
        self.name: str = remote.name
        self._fs, self._path = remote.fs, remote.path

    @property
    def cache(self) -> Path:
        """The folder of the local cache that holds content by its hash."""
        return Path(self._repo.cache.local.path)

    def config(self) -> dict[str, str]:
        """The settings of the remote that Git tracks, and so hold no secret; a folder by its whole path."""
        kept: dict[str, Any] = self._repo.config.load_one("repo")["remote"].get(self.name, {})
        if "url" not in kept:
            raise CapillaryError(
                f"the remote {self.name} is not in .dvc/config, which goes along with jobs",
                file=".dvc/config.local",
                remedy=f"dvc remote add --default {self.name} URL, and leave only its secrets in .dvc/config.local",
                code=ExitCode.USAGE,
            )
        return {key: str(value) for key, value in kept.items() if key not in DVC_SECRETS}

    def has(self, digest: str) -> bool:
        """Whether the local cache has the file or folder with `digest`; a folder's list counts for all of it."""
        return bool(digest) and bool(self._repo.cache.local.exists(digest))

    def add(self, place: Path) -> str:
        """Put the file or folder `place` into the local cache; returns its hash."""
        cache = self._repo.cache.local
        staging, _, made = build(cache, str(place), LocalFileSystem(), HASH)
        transfer(staging, cache, {made.hash_info}, shallow=False, hardlink=False)
        return str(made.hash_info.value)

    def push(self, digests: Collection[str]) -> None:
        """Send content of the local cache to the remote, of folders with all that is in them."""
        self._move(self._repo.cache.local, self._store(), digests)

    def pull(self, digests: Collection[str]) -> None:
        """Fetch content of the remote into the local cache.

        Raises DataError for what it does not have, DamagedError for a list that is not what its name says.
        """
        folders = [digest for digest in digests if digest.endswith(".dir")]
        self._refuse_invented(digests)
        self._move(self._store(), self._repo.cache.local, folders, shallow=True)  # their lists
        for folder in folders:
            self._refuse_invented(digest for _, digest in listed(self.cache, folder))
        self._move(self._store(), self._repo.cache.local, digests)

    def _refuse_invented(self, digests: Iterable[str]) -> None:
        if invented := [digest for digest in digests if not is_digest(digest)]:
            raise DataError(
                f"a list in the remote {self.name} names content by something other than an MD5",
                value=invented[0],
                remedy="look at who may write to the remote, then repeat the command",
            )

    def _store(self) -> Any:
        return self._repo.cloud.get_remote_odb(self.name, "push")

    def _move(self, source: Any, target: Any, digests: Collection[str], *, shallow: bool = False) -> None:
        """`shallow` moves the list of a folder alone: DVC takes what has the list to have the files as well."""
        log.debug(f"moves {len(digests)} objects between the cache and the remote {self.name}")
        lost: list[HashInfo] = []
        result = transfer(
            source,
            target,
            [HashInfo(HASH, digest) for digest in digests],
            cache_odb=self._repo.cache.local,
            shallow=shallow,
            validate_status=lambda status: lost.extend(status.missing),
        )
        if lost or result.failed:
            raise DataError(
                f"the remote {self.name} and this machine do not have all that a job needs or made",
                value=", ".join(sorted({str(each.value) for each in (*lost, *result.failed)})[:3]),
                remedy="check the remote (capillary doctor), then repeat the command",
            )

    def write(self, box: str, name: str, content: bytes) -> None:
        """Put a file into the mailbox `box`."""
        place = self._place(box, name)
        self._fs.makedirs(self._fs.parent(place), exist_ok=True)
        self._fs.pipe_file(place, content)

    def read(self, box: str, name: str, most_bytes: int = MOST_BYTES) -> bytes | None:
        """A file of the mailbox `box`, or so much of it as a job writes; None if it is not there."""
        try:
            with self._fs.open(self._place(box, name), "rb") as stream:
                found: bytes = stream.read(most_bytes)
        except FileNotFoundError:
            return None
        return found

    def forget(self, box: str, *, keep: str = "") -> None:
        """Remove the mailbox `box`; the file `keep` of it stays."""
        place = self._place(box)
        if not self._fs.exists(place):
            return
        for file in list(self._fs.find(place)):
            if self._fs.name(file) != keep:
                self._fs.rm_file(file)
        if not keep and self._fs.exists(place) and self._fs.protocol == "local":
            self._fs.rm(place, recursive=True)  # an object store has no folders

    def _place(self, *names: str) -> str:
        place: str = self._fs.join(self._path, MAILBOXES, *names)
        return place


def patiently(act: Callable[[], Result], minutes: int = 4) -> Result:
    """What `act` returns; tried again for about so many `minutes` while the remote does not answer."""
    for pause_s in (*FIRST_PAUSES_S, *[PAUSE_S] * minutes):
        try:
            return act()
        except (OSError, DvcException) as error:
            log.warning(f"the remote does not answer ({error}); trying again in {pause_s:g} s")
            time.sleep(pause_s)
    try:
        return act()
    except (OSError, DvcException) as error:
        raise ServiceError(
            "DVC's remote does not answer",
            value=error,
            remedy="check it with capillary doctor, then repeat the command, which finds the job again",
        ) from error


def _without_remote(root: Path, error: Exception) -> CapillaryError:
    return CapillaryError(
        "nodes without a shared disk need DVC's remote",
        file=root / ".dvc/config",
        value=error,
        remedy="dvc remote add --default NAME URL (docs/remotes.md), or `files: shared` in configs/slurm.yaml",
        code=ExitCode.USAGE,
    )
