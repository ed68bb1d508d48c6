"""Content by its hash in one of DVC's remotes, and small files in folders next to it."""

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from dvc.fs import LocalFileSystem
from dvc.repo import Repo
from dvc_data.hashfile.build import build
from dvc_data.hashfile.hash_info import HashInfo
from dvc_data.hashfile.transfer import transfer

from capillary.dvc.objects import is_digest, listed
from stages.common.errors import DataError
from stages.common.program.messages import get_logger

log = get_logger(__name__)

HASH = "md5"


class RemoteContent:
    """The remote `name` (None: the default one) of the DVC project `root`, and its cache. DvcException without one."""

    def __init__(self, root: Path, name: str | None = None) -> None:
        self._repo = Repo(str(root))
        remote = self._repo.cloud.get_remote(name, command="push")
        self.name: str = remote.name
        self._fs, self._path = remote.fs, remote.path

    @property
    def cache(self) -> Path:
        """The folder of the local cache that holds content by its hash."""
        return Path(self._repo.cache.local.path)

    @property
    def runs(self) -> Path:
        """The folder in which the local run cache is."""
        return Path(self._repo.cache.legacy.path)

    def has(self, digest: str) -> bool:
        """Whether the local cache has the file or folder with `digest`; a folder's list counts for all of it."""
        return bool(digest) and bool(self._repo.cache.local.exists(digest))

    def add(self, place: Path) -> str:
        """Put the file or folder `place` into the local cache; returns its hash."""
        return str(self.add_out(place)["md5"])

    def add_out(self, place: Path) -> dict[str, Any]:
        """As `add`; returns hash and size as DVC's records have them."""
        cache = self._repo.cache.local
        staging, meta, made = build(cache, str(place), LocalFileSystem(), HASH)
        transfer(staging, cache, {made.hash_info}, shallow=False, hardlink=False)
        sizes = {key: value for key, value in meta.to_dict().items() if key in {"size", "nfiles"}}
        return {"hash": HASH, "md5": str(made.hash_info.value), **sizes}

    def push(self, digests: Collection[str]) -> None:
        """Send content of the local cache to the remote, of folders with all that is in them."""
        self._move(self._repo.cache.local, self._store(), digests)

    def pull(self, digests: Collection[str]) -> None:
        """Fetch content of the remote into the local cache, which does not keep what is not what its name says.

        Raises DataError for what it does not have, DamagedError for a list that is not what its name says.
        """
        folders = [digest for digest in digests if digest.endswith(".dir")]
        self._refuse_invented(digests)
        self._move(self._store(), self._repo.cache.local, folders, shallow=True, verify=True)  # their lists
        for folder in folders:
            self._refuse_invented(digest for _, digest in listed(self.cache, folder))
        self._move(self._store(), self._repo.cache.local, digests, verify=True)

    def _refuse_invented(self, digests: Iterable[str]) -> None:
        if invented := [digest for digest in digests if not is_digest(digest)]:
            raise DataError(
                f"a list in the remote {self.name} names content by something other than an MD5",
                value=invented[0],
                remedy="look at who may write to the remote, then repeat the command",
            )

    def _store(self) -> Any:
        return self._repo.cloud.get_remote_odb(self.name, "push")

    def _move(
        self, source: Any, target: Any, digests: Collection[str], *, shallow: bool = False, verify: bool = False
    ) -> None:
        """`shallow` moves the list of a folder alone: DVC takes what has the list to have the files as well."""
        log.debug(f"moves {len(digests)} objects between the cache and the remote {self.name}")
        lost: list[HashInfo] = []

        def move() -> Collection[HashInfo]:
            return transfer(
                source,
                target,
                [HashInfo(HASH, digest) for digest in digests],
                cache_odb=self._repo.cache.local,
                shallow=shallow,
                verify=verify,
                validate_status=lambda status: lost.extend(status.missing),
            ).failed

        failed = move()
        if failed and not lost:  # DVC does not say why; a remote that went away meanwhile does when it is asked again
            failed = move()
        if lost or failed:
            raise DataError(
                f"the remote {self.name} and this machine do not have all that a job needs or made",
                value=", ".join(sorted({str(each.value) for each in (*lost, *failed)})[:3]),
                remedy="check the remote (capillary doctor), then repeat the command",
            )

    def write_file(self, content: bytes, *names: str) -> None:
        """Put a file into a folder of the remote."""
        place = self._place(*names)
        self._fs.makedirs(self._fs.parent(place), exist_ok=True)
        self._fs.pipe_file(place, content)

    def read_file(self, *names: str, most_bytes: int) -> bytes | None:
        """No more than `most_bytes` of a file of the remote; None if it is not there."""
        try:
            with self._fs.open(self._place(*names), "rb") as stream:
                found: bytes = stream.read(most_bytes)
        except FileNotFoundError:
            return None
        return found

    def names_in(self, *names: str) -> list[str]:
        """The files in a folder of the remote; none if it is not there."""
        try:
            return sorted(self._fs.name(file) for file in self._fs.find(self._place(*names)))
        except FileNotFoundError:
            return []

    def _place(self, *names: str) -> str:
        place: str = self._fs.join(self._path, *names)
        return place
