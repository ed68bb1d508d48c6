"""What a source of stacks offers, whatever it is: a folder, an archive, a bucket, a web server."""

import posixpath
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from stages.common.dataset.hub import FORM, SCHEME, is_pin
from stages.common.errors import DataError
from stages.common.runtime import HubLogin
from stages.ingest.sources.archives.archive import ARCHIVE_SUFFIXES, is_archive, open_archive
from stages.ingest.sources.local import LocalFolder
from stages.ingest.sources.remote import RemoteFolder, TableOnServer, open_server
from stages.ingest.sources.services import HTTP

_SETTING = "params.yaml [ingest] source"


class Source(Protocol):
    """Files under one root. Paths are relative to it, with forward slashes."""

    @property
    def shown(self) -> str:
        """The source as the user wrote it, without secrets."""

    @property
    def table(self) -> str | None:
        """The path of the table of stacks, None when the source has none."""

    def names(self, folder: str) -> list[str]:
        """Names of the entries in `folder` ("" is the root), sorted; empty when there is no such folder."""

    def below(self, folder: str) -> list[str]:
        """Files anywhere below `folder`, by their paths in it, sorted; empty when there is no such folder."""

    def expect(self, paths: Iterable[str]) -> None:
        """Get ready to fetch `paths`; what is wrong with one of them, `fetch` says."""

    def fetch(self, path: str, target: Path) -> None:
        """Copy the file at `path` to `target`, byte for byte.

        Raises DataError when it is missing or unreadable, ServiceError when a server fails.
        """


@dataclass(frozen=True, kw_only=True)
class Hub:
    """The Hugging Face Hub to ask, and the folder that keeps what was downloaded."""

    login: HubLogin = field(default_factory=HubLogin)
    downloads: Path = Path(".capillary", "downloads")


PUBLIC_HUB = Hub()


def open_source(address: str, scratch: Path, cache: Path | None = None, hub: Hub = PUBLIC_HUB) -> Source:
    """The source at `address`. `scratch` takes what has to be unpacked, so it is on the disk of the results.

    Links in a folder may lead into `cache`, DVC's.
    """
    if address.startswith(f"{SCHEME}://") or (is_pin(address) and Path(address).is_file()):
        return _open_hub(address, scratch, hub)
    return _open_url(address, scratch) if "://" in address else _open_path(address, scratch, cache)


def _open_hub(address: str, scratch: Path, hub: Hub) -> Source:
    # here: aiohttp takes a tenth of a second
    from stages.ingest.sources.hub.folder import open_address, open_pin

    if "://" not in address:
        opened = open_pin(Path(address), address, hub.downloads, hub.login)
    else:
        opened = open_address(address, hub.downloads, hub.login)
    if opened.archive is None:
        return opened
    archive = scratch / opened.archive
    opened.fetch(opened.archive, archive)
    return open_archive(archive, scratch, shown=opened.shown)


def _open_path(address: str, scratch: Path, cache: Path | None) -> Source:
    path = Path(address)
    if path.is_dir():
        return LocalFolder(folder=path, shown=address, cache=cache)
    if not path.exists():
        raise DataError(
            f"the source {address} does not exist",
            remedy="set ingest.source in params.yaml to a folder, an archive or a URL that exists",
            file=_SETTING,
            value=address,
        )
    if is_archive(path.name):
        return open_archive(path, scratch, shown=address)
    raise DataError(
        f"the source {address} is a file, but not an archive",
        remedy=f"name the folder that contains dataset.csv, or an archive of it ({', '.join(ARCHIVE_SUFFIXES)}); "
        f"capillary dataset pin {FORM} makes a file for a data set on the Hugging Face Hub",
        file=_SETTING,
        value=address,
    )


def _open_url(address: str, scratch: Path) -> Source:
    server = open_server(address)
    if is_archive(server.path):
        archive = scratch / posixpath.basename(server.path)
        server.download(server.root, archive, server.shown)
        return open_archive(archive, scratch, shown=server.shown)
    if server.path.lower().endswith(".csv"):
        return TableOnServer(server=server)
    if server.service.scheme not in HTTP:
        return RemoteFolder(server=server)
    raise DataError(
        f"{server.shown} names a folder, and HTTP cannot list folders",
        remedy=f"name the dataset.csv in it, or an archive ({', '.join(ARCHIVE_SUFFIXES)})",
        file=_SETTING,
        value=server.shown,
    )
