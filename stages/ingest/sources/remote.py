"""Buckets and web servers as sources, through fsspec."""

import contextlib
import errno
import posixpath
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

from fsspec import AbstractFileSystem

from stages.common.errors import DataError, ServiceError
from stages.ingest.sources.local import TABLE
from stages.ingest.sources.services import HTTP, SERVICES, Service, classes

_PAUSES_S = (1.0, 3.0)  # before the second and the third try
# the file that a download is written to failed, not the server (as when the error names a local file)
_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG}
_REFUSED = {401, 403}


@dataclass(frozen=True, kw_only=True)
class Server:
    """A connection to one address. `root` is what the file system takes, `path` the path in the URL."""

    service: Service
    fs: AbstractFileSystem
    root: str
    path: str
    shown: str
    secret: str  # the query of the URL: a signed link's key is in it

    def below(self, path: str, base: str) -> str:
        """What the file system takes for `path` under `base`."""
        return posixpath.join(base, quote(path) if self.service.scheme in HTTP else path)

    def download(self, name: str, target: Path, shown: str) -> None:
        """Copy the file that the file system calls `name` to `target`. Raises DataError, ServiceError."""
        with self.explaining(shown):
            for pause_s in _PAUSES_S if self.service.transient else ():
                with contextlib.suppress(*classes(self.service.transient)):
                    self.fs.get_file(name, str(target))
                    return
                time.sleep(pause_s)
            self.fs.get_file(name, str(target))

    @contextlib.contextmanager
    def explaining(self, shown: str) -> Iterator[None]:
        """Say in plain words what went wrong with the file or folder `shown`."""
        failures: tuple[type[Exception], ...] = (OSError, *classes(self.service.failures))
        try:
            yield
        except FileNotFoundError as error:
            raise DataError(
                f"{shown} does not exist",
                remedy="correct ingest.source in params.yaml, or the name in dataset.csv",
                file=shown,
            ) from error
        except failures as error:
            if isinstance(error, OSError) and (error.errno in _DISK or error.filename is not None):
                raise
            raise self._service_error(error, shown) from error

    def _service_error(self, error: Exception, shown: str) -> ServiceError:
        reason = " ".join(str(error).split()) or type(error).__name__
        if self.secret:
            reason = reason.replace(self.secret, "…")
        if self._is_refusal(error):
            return ServiceError(f"access to {shown} is refused", remedy=self.service.login, value=reason[:300])
        return ServiceError(
            f"{shown} cannot be read from its server",
            remedy="check the host name in the URL, the network and the proxy settings (HTTPS_PROXY), then repeat",
            value=reason[:300],
        )

    def _is_refusal(self, error: Exception) -> bool:
        if isinstance(error, (PermissionError, *classes(self.service.refusals))):
            return True
        response = getattr(error, "response", None)
        status = (
            getattr(error, "status", None) or getattr(error, "code", None) or getattr(response, "status_code", None)
        )
        # gcsfs raises a plain OSError for 403
        return status in _REFUSED or str(error).startswith("Forbidden")


def open_server(address: str) -> Server:
    """The server of a URL; raises CapillaryError when the package for its scheme is missing."""
    parts = urlsplit(address)
    service = SERVICES[parts.scheme]
    host = parts.netloc.rpartition("@")[2] if parts.scheme in HTTP else parts.netloc
    shown = urlunsplit((parts.scheme, host, parts.path, "", "")).rstrip("/")
    fs = service.open()
    root = address if parts.scheme in HTTP else f"{parts.netloc}{parts.path}".rstrip("/")
    return Server(service=service, fs=fs, root=root, path=parts.path, shown=shown, secret=parts.query)


@dataclass(frozen=True, kw_only=True)
class RemoteFolder:
    """A folder on a server that can list folders."""

    server: Server

    @property
    def shown(self) -> str:
        """The URL."""
        return self.server.shown

    @cached_property
    def _top(self) -> list[str]:
        with self.server.explaining(self.shown):
            return self._list(self.server.root)

    @property
    def table(self) -> str | None:
        """`dataset.csv`, if the folder holds it."""
        return TABLE if TABLE in self._top else None

    def names(self, folder: str) -> list[str]:
        """Entries of a folder."""
        if not folder:
            return self._top
        with self.server.explaining(f"{self.shown}/{folder}"):
            try:
                return self._list(posixpath.join(self.server.root, folder))
            except FileNotFoundError:
                return []

    def below(self, folder: str) -> list[str]:
        """Files anywhere below a folder."""
        root = posixpath.join(self.server.root, folder)
        with self.server.explaining(f"{self.shown}/{folder}"):
            found = self.server.fs.find(root)
        top = f"{root.rstrip('/')}/"
        return sorted(name[len(top) :] for name in found if name.startswith(top))

    def _list(self, folder: str) -> list[str]:
        entries = self.server.fs.ls(folder, detail=False)
        return sorted(name for entry in entries if (name := posixpath.basename(entry.rstrip("/"))))

    def expect(self, paths: Iterable[str]) -> None:
        """Nothing to get ready: each file is its own request."""

    def fetch(self, path: str, target: Path) -> None:
        """Download a file."""
        self.server.download(self.server.below(path, self.server.root), target, f"{self.shown}/{path}")


@dataclass(frozen=True, kw_only=True)
class TableOnServer:
    """A table at a URL, and the files that it names relative to itself: no listing is needed."""

    server: Server

    @property
    def shown(self) -> str:
        """The URL of the table."""
        return self.server.shown

    @property
    def table(self) -> str | None:
        """The name of the table, as the URL has it."""
        return posixpath.basename(self.server.path)

    def names(self, folder: str) -> list[str]:  # noqa: ARG002 - the protocol's signature
        """Nothing: a web server does not list folders."""
        return []

    def below(self, folder: str) -> list[str]:  # noqa: ARG002 - the protocol's signature
        """Nothing, for the same reason."""
        return []

    def expect(self, paths: Iterable[str]) -> None:
        """Nothing to get ready: each file is its own request."""

    def fetch(self, path: str, target: Path) -> None:
        """Download the table, or a file that it names."""
        shown = f"{posixpath.dirname(self.shown)}/{path}"
        if path == self.table:
            self.server.download(self.server.root, target, shown)
            return
        base = urlunsplit(urlsplit(self.server.root)._replace(query="", fragment=""))
        self.server.download(self.server.below(path, posixpath.dirname(base)), target, shown)
