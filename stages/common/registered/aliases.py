"""Aliases of a registered model on its server: read, and pointed at another version (pointers.py has the rules)."""

import json
import time

from mlflow.entities.model_registry import ModelVersion

from stages.common.errors import DataError
from stages.common.program.messages import get_logger
from stages.common.registered.pointers import TAG, TOO_LATE_NS, pointers_of, resolve
from stages.common.registered.refusals import explained, means_missing
from stages.common.registered.versions import list_versions, nothing
from stages.common.tracking.server import RefusedError, Server

log = get_logger(__name__)


def aliases_of(name: str, server: Server) -> dict[str, ModelVersion]:
    """Alias → version of the model `name`. Raises DataError for an unknown name, ServiceError for a refused login."""
    return resolve(list_versions(name, server), _aliases(name, server))


def read_model(name: str, server: Server) -> tuple[list[ModelVersion], dict[str, ModelVersion], int]:
    """(versions, alias → version, time of the newest pointer): the versions are asked for first."""
    versions = list_versions(name, server)
    newest = max((pointer.when for found in pointers_of(versions).values() for pointer in found), default=0)
    return versions, resolve(versions, _aliases(name, server)), newest


def point(name: str, alias: str, version: str, server: Server, *, after: int = 0) -> None:
    """Let `alias` lead to `version`, by a tag as well; newer than `after` (ns), whatever this machine's clock says.

    Raises ServiceError if the server takes neither, DataError if no pointer can be newer.
    """
    client = server.client
    when = max(time.time_ns(), after + 1)
    if when >= TOO_LATE_NS:
        raise _no_newer(name, after)
    taken = True
    try:
        server.call("set an alias", lambda: client.set_registered_model_alias(name, alias, version))
    except RefusedError as error:
        if means_missing(error):
            raise nothing(f"{name}/{version}", server) from error
        taken = False
    told = json.dumps({"when": when, "taken": taken})
    try:
        server.call("tag a version", lambda: client.set_model_version_tag(name, version, TAG + alias, told))
    except RefusedError as error:
        raise explained(error, server) from error
    if not taken:
        log.warning(
            f"this server does not support aliases: version {version} of {name} carries the tag {TAG}{alias} instead"
        )


def _no_newer(name: str, after: int) -> DataError:
    return DataError(
        f"a tag {TAG}… of {name} is from the future, and none can be newer",
        value=f'"when": {after}',
        remedy="find out who wrote it, delete it on the page of its version in MLflow, then repeat: the aliases follow "
        "from the history",
    )


def _aliases(name: str, server: Server) -> dict[str, str]:
    try:
        model = server.call("find a model", lambda: server.client.get_registered_model(name))
    except RefusedError as error:
        raise explained(error, server, nothing(name, server)) from error
    return {alias: str(number) for alias, number in (model.aliases or {}).items()}
