"""The one reading of MLFLOW_TRACKING_URI: the launcher, preflight and the stages take an address for the same thing.

Nothing is imported here that needs MLflow, because the launcher and the gate do without it.
"""

import enum
import re
import shlex
from dataclasses import dataclass
from urllib.parse import urlsplit

from stages.common.errors import CapillaryError, UsageError
from stages.common.params import nearest
from stages.common.text import without_login

VARIABLE = "MLFLOW_TRACKING_URI"
EMBEDDED = "sqlite:///mlruns/mlflow.db"
EXPERIMENT = "capillary"  # the MLflow experiment that holds all runs
_SQLITE = "sqlite:///"
_SERVERS = ("http", "https")
_DATABASES = ("postgresql", "mysql", "mssql", "sqlite")  # MLflow's own list
_DATABRICKS = ("databricks", "databricks-uc", "uc")
_HOST = re.compile(r"^(\[[0-9a-fA-F:]+\]|[\w-]+(\.[\w-]+)*)(:\d+)?(/.*)?$")


class StoreKind(enum.StrEnum):
    """Where runs are kept: a SQLite file of this project, a server, a database without a server, Databricks."""

    EMBEDDED = "embedded"
    SERVER = "server"
    DATABASE = "database"
    DATABRICKS = "databricks"


@dataclass(frozen=True, kw_only=True)
class Address:
    """What an address leads to. `uri` may hold credentials."""

    kind: StoreKind
    uri: str

    @property
    def database_file(self) -> str:
        """The SQLite file of an embedded store, as it is written: relative to the project, or absolute.

        Without options (`?timeout=60`), which are no part of its name.
        """
        return self.uri.removeprefix(_SQLITE).partition("?")[0]


def read_address(uri: str) -> Address:
    """What `uri` leads to; raises CapillaryError (usage) for what MLflow's client could not use."""
    plain = without_login(uri)
    scheme = uri.partition("://")[0].lower() if "://" in uri else ""
    # a file may be in a folder with a blank in its name
    if uri.strip() != uri or (re.search(r"\s", uri) and not uri.startswith(_SQLITE)):
        raise _refused("has a space in it", plain, "remove the space, or write it as %20")
    if uri in _DATABRICKS or scheme in _DATABRICKS:
        return Address(kind=StoreKind.DATABRICKS, uri=uri)
    if scheme in _SERVERS:
        return _server(uri, plain)
    if scheme.split("+")[0] in _DATABASES:
        return _database(uri, scheme, plain)
    if uri.startswith("file:") or not scheme:
        raise _no_scheme(uri, plain)
    known = nearest(scheme, [*_SERVERS, *_DATABASES])
    hint = "write postgresql://" if scheme == "postgres" else "begin it with http://, https:// or postgresql://"
    raise _refused(f"has an unknown scheme `{scheme}`; {known}", plain, hint)


def restore_command(uri: str, experiment_id: str) -> str:
    """The command that brings a deleted experiment back; a login is read from the environment."""
    plain = without_login(uri)
    return f"{VARIABLE}={shlex.quote(plain)} .venv/bin/mlflow experiments restore --experiment-id {experiment_id}"


def _server(uri: str, plain: str) -> Address:
    try:
        parts = urlsplit(uri)
    except ValueError as error:
        raise _refused(
            f"cannot be read ({error})", plain, "write it as http://host:port, or http://[::1]:port"
        ) from error
    if not parts.hostname:
        raise _refused("names no host", plain, "write it as http://host:port")
    try:
        _ = parts.port
    except ValueError as error:
        raise _refused(
            "has a port that is not a number up to 65535",
            plain,
            "correct the number after the :, or write the / of a password as %2F",
        ) from error
    if "#" in uri or "?" in uri:
        base = re.split(r"[#?]", plain)[0].rstrip("/")
        raise _refused("is the address of a page in the browser, not of the server", plain, f"write {base}")
    return Address(kind=StoreKind.SERVER, uri=uri)


def _database(uri: str, scheme: str, plain: str) -> Address:
    if scheme != "sqlite":
        return Address(kind=StoreKind.DATABASE, uri=uri)
    if not uri.startswith(_SQLITE) or not uri.removeprefix(_SQLITE):
        path = uri.removeprefix("sqlite:").lstrip("/") or "mlruns/mlflow.db"
        remedy = f"write sqlite:///{path} for a file in this project, sqlite:////… for an absolute path"
        raise _refused("names no file", plain, remedy)
    return Address(kind=StoreKind.EMBEDDED, uri=uri)


def _no_scheme(uri: str, plain: str) -> CapillaryError:
    """A host whose scheme was left out, or a folder."""
    host = _HOST.match(uri)
    is_host = host is not None and (host[3] is not None or "." in host[1] or host[1] == "localhost")
    if is_host and not uri.startswith(("file:", ".")):
        return _refused("does not say how to reach the server", plain, f"write http://{plain} (or https://)")
    return _refused(
        "is a folder, which MLflow no longer takes as a store",
        plain,
        "unset it: runs are kept in mlruns/mlflow.db; or name a server (https://…) or a database (sqlite:///…)",
    )


def _refused(what: str, plain: str, remedy: str) -> CapillaryError:
    return UsageError(f"{VARIABLE} {what}", value=plain, remedy=remedy)
