"""The store that holds the files of a run or of a version, and whether MLflow's client may send its login there.

Where files are is text that whoever writes to the registry chooses: an experiment's location, a version's source.
MLflow's client sends its login to any web server that it names.
"""

import os
import re

from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.store.artifact.http_artifact_repo import HttpArtifactRepository
from mlflow.utils.credentials import get_default_host_creds

from stages.common.errors import ServiceError
from stages.common.tracking.server import Server, redact

SERVERS = "MLFLOW_ARTIFACT_SERVERS"
_PORTS = {"http": 80, "https": 443}
# parsers differ in which host `http://one\@other` means: nothing but plain names and numbers is a host here
_HOST = r"(?P<host>[\w.-]+|\[[0-9a-f:.]+\])"
_ADDRESS = re.compile(rf"(?P<scheme>https?)://([^/?#@\\\s]*@)?{_HOST}(:(?P<port>\d{{1,5}}))?(?=[/?#]|$)", re.IGNORECASE)
_WEB = ("http:", "https:", "mlflow-artifacts:")
_Origin = tuple[str, str, int]


def open_store(place: str, server: Server) -> ArtifactRepository:
    """The store of the files at `place`, which a registry names.

    Raises ServiceError for a web server that is neither `server` nor one of SERVERS, if there is a login to lose.
    """
    store = get_artifact_repository(place, tracking_uri=server.uri)
    inner = store
    while hasattr(inner, "repo"):  # runs:/ and models:/ stand for another place
        inner = inner.repo
    if isinstance(inner, HttpArtifactRepository):
        _refuse_other_server(inner.artifact_uri, server)
    return store


def refuse_other_server(place: str, server: Server) -> None:
    """Raise ServiceError as open_store does. A store that is not a web server has its own keys."""
    if place.lower().startswith(_WEB):
        open_store(place, server)


def _refuse_other_server(url: str, server: Server) -> None:
    trusted = {_origin(each.strip()) for each in (server.uri, *os.environ.get(SERVERS, "").split(","))} - {None}
    origin = _origin(url)
    if origin in trusted or not _has_login(url):
        return
    named = "an unreadable address" if origin is None else f"{origin[0]}://{origin[1]}:{origin[2]}"
    raise ServiceError(
        f"MLflow at {redact(server.uri)} names {named} for files, and the login is not sent to another server",
        remedy="find out who set it: the location of the experiment, or the source of the version. If you trust that "
        f"server with the login, set {SERVERS} to its address",
        value=redact(url),
    )


def _has_login(url: str) -> bool:
    login = get_default_host_creds(url)  # type: ignore[no-untyped-call]
    named = (login.username and login.password, login.token, login.auth, login.aws_sigv4, login.client_cert_path)
    return any(named)


def _origin(url: str) -> _Origin | None:
    """Scheme, host and port of a web address; None if it is not one, or can be read in two ways."""
    found = _ADDRESS.match(url)
    if found is None:
        return None
    scheme = found["scheme"].lower()
    return scheme, found["host"].lower(), int(found["port"] or _PORTS[scheme])
