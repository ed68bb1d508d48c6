"""What a source of stacks offers, whatever it is: a folder, an archive, a bucket, a web server."""

import posixpath
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from stages.common.errors import DataError
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


def open_source(address: str, scratch: Path, cache: Path | None = None) -> Source:
    """The source at `address`. `scratch` takes what has to be unpacked, so it is on the disk of the results.

    Links in a folder may lead into `cache`, DVC's.
    """
    return _open_url(address, scratch) if "://" in address else _open_path(address, scratch, cache)


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
        remedy=f"name the folder that contains dataset.csv, or an archive of it ({', '.join(ARCHIVE_SUFFIXES)})",
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
