"""A data set on the Hub, at one commit, as a source."""

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from stages.common.dataset.hub import MAX_PIN_BYTES, HubPin, parse_address, read_pin
from stages.common.errors import DataError, ServiceError
from stages.common.program.messages import get_logger
from stages.common.runtime import HubLogin
from stages.ingest.sources.archives.archive import is_archive
from stages.ingest.sources.hub.cache import HubCache, cache_folder
from stages.ingest.sources.hub.client import HubClient
from stages.ingest.sources.hub.files import HubFile
from stages.ingest.sources.local import TABLE

log = get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class HubFolder:
    """The files of a data set, below the folder that its address names."""

    cache: HubCache
    shown: str
    archive: str | None = None  # its name in the folder, where the address names one

    @cached_property
    def _files(self) -> dict[str, HubFile]:
        return self.cache.files()

    @property
    def table(self) -> str | None:
        """`dataset.csv`, if the folder holds it."""
        return TABLE if TABLE in self._files else None

    def names(self, folder: str) -> list[str]:
        """Entries of a folder."""
        return sorted({path.partition("/")[0] for path in self.below(folder)})

    def below(self, folder: str) -> list[str]:
        """Files anywhere below a folder."""
        above = f"{folder}/" if folder else ""
        return [path[len(above) :] for path in self._files if path.startswith(above)]

    def expect(self, paths: Iterable[str]) -> None:
        """Download `paths` at once. A path that is not there is passed over: `fetch` says so."""
        self.cache.bring(file for path in paths if (file := self._files.get(path)) is not None)

    def fetch(self, path: str, target: Path) -> None:
        """Copy a file, downloading it if it is not in the cache."""
        if path not in self._files:
            what = "this is a folder, not a file" if self.below(path) else "it does not exist in the data set"
            raise DataError(what, remedy="correct its name", file=f"{self.shown}/{path}")
        self.cache.copy(self._files[path], target)


def open_pin(file: Path, shown: str, downloads: Path, login: HubLogin) -> HubFolder:
    """The data set that the pin file `file` names, at its commit. A branch that has moved is said, not followed.

    Raises DataError for a file that is no pin.
    """
    with file.open("rb") as stream:
        pin = read_pin(stream.read(MAX_PIN_BYTES + 1), shown)
    client = HubClient(login=login, address=pin.address)
    if not pin.address.names_commit:
        log.info(f"note: {_moved(client, pin, shown)}")
    return _folder(client, pin.commit, downloads)


def open_address(text: str, downloads: Path, login: HubLogin) -> HubFolder:
    """The data set at the address `text`, at the commit that its revision means now.

    Raises DataError, ServiceError: without the Hub only a commit can be read from the cache.
    """
    address = parse_address(text)
    client = HubClient(login=login, address=address)
    commit = address.revision if address.names_commit else client.commit_of(address.revision)
    return _folder(client, commit, downloads)


def _folder(client: HubClient, commit: str, downloads: Path) -> HubFolder:
    address, archive = client.address, None
    if is_archive(address.folder):
        folder, _, archive = address.folder.rpartition("/")
        client = replace(client, address=replace(address, folder=folder))
    cache = HubCache(client=client, commit=commit, folder=cache_folder(downloads, client.login.endpoint, address))
    return HubFolder(cache=cache, shown=address.at(commit), archive=archive)


def _moved(client: HubClient, pin: HubPin, shown: str) -> str:
    """What the pin's revision means today."""
    revision = pin.address.revision
    with contextlib.suppress(DataError, ServiceError):
        now = replace(client, is_patient=False).commit_of(revision)
        if now == pin.commit:
            return f"{revision} of {pin.address.repo} is still at the pinned commit {pin.commit}"
        follow = f"to follow: capillary dataset pin {pin.address.text} {shown}"
        return f"{revision} of {pin.address.repo} has moved to {now}; the pinned {pin.commit} is read ({follow})"
    return f"whether {revision} of {pin.address.repo} has moved cannot be found out; the pinned {pin.commit} is read"
