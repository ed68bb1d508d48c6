"""Aliases of a registered model, and the tags that stand in for them on servers without aliases.

Whoever points an alias writes a tag, too: `capillary.alias.<alias>` on the version, with the time and whether the
server took the alias. So the newest of both counts. A tag says that the alias was refused, and is newer than whatever
alias the server still has; or that it was taken, and then the alias itself is the truth, also if a person moved it in
MLflow's page since.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass

from mlflow.entities.model_registry import ModelVersion

from stages.common.errors import ServiceError
from stages.common.progress import say
from stages.common.registered.refusals import explained, means_missing
from stages.common.registered.versions import list_versions, nothing
from stages.common.text import json_value
from stages.common.tracking.server import RefusedError, Server

TAG = "capillary.alias."
_TOO_LATE_NS = 2 * 10**19  # the year 2603
FORMER_TAG = "capillary.alias"  # on versions of former programs, in place of an alias: the alias, without a time


@dataclass(frozen=True, kw_only=True)
class Pointer:
    """A tag that says which version an alias was pointed at. `when` is in ns since 1970."""

    version: ModelVersion
    when: int
    taken: bool


def aliases_of(name: str, server: Server) -> dict[str, ModelVersion]:
    """Alias → version of the model `name`. Raises DataError for an unknown name, ServiceError for a refused login."""
    return resolve(list_versions(name, server), _aliases(name, server))


def read_model(name: str, server: Server) -> tuple[list[ModelVersion], dict[str, ModelVersion], int]:
    """(versions, alias → version, time of the newest pointer): the versions are asked for first."""
    versions = list_versions(name, server)
    newest = max((pointer.when for found in _pointers(versions).values() for pointer in found), default=0)
    return versions, resolve(versions, _aliases(name, server)), newest


def resolve(versions: Sequence[ModelVersion], aliases: dict[str, str]) -> dict[str, ModelVersion]:
    """Alias → version, from `aliases` (alias → number) and the tags of `versions`."""
    by_number = {str(one.version): one for one in versions}
    found = {alias: by_number[number] for alias, number in aliases.items() if number in by_number}
    for alias, version in _former(versions).items():
        if alias not in found or int(version.version) > int(found[alias].version):
            found[alias] = version  # both were set as versions were made: the later version's is newer
    for alias, pointers in _pointers(versions).items():
        newest = max(pointers, key=lambda pointer: (pointer.when, int(pointer.version.version)))
        if alias not in aliases or not newest.taken:
            found[alias] = newest.version
        elif aliases[alias] in by_number:
            found[alias] = by_number[aliases[alias]]
    return found


def point(name: str, alias: str, version: str, server: Server, *, after: int = 0) -> None:
    """Let `alias` lead to `version`, by a tag as well; newer than `after` (ns), whatever this machine's clock says.

    Raises ServiceError where the server takes neither.
    """
    client = server.client
    taken = True
    try:
        server.call("set an alias", lambda: client.set_registered_model_alias(name, alias, version))
    except RefusedError as error:
        if means_missing(error):
            raise nothing(f"{name}/{version}", server) from error
        taken = False
    told = json.dumps({"when": max(time.time_ns(), after + 1), "taken": taken})
    try:
        server.call("tag a version", lambda: client.set_model_version_tag(name, version, TAG + alias, told))
    except RefusedError as error:
        why = ServiceError(error.what, remedy=error.remedy, value=error.value)
        raise explained(error, server, why) from error
    if not taken:
        say(f"this server takes no aliases: version {version} of {name} carries the tag {TAG}{alias} instead")


def _aliases(name: str, server: Server) -> dict[str, str]:
    try:
        model = server.call("find a model", lambda: server.client.get_registered_model(name))
    except RefusedError as error:
        raise explained(error, server, nothing(name, server)) from error
    return {alias: str(number) for alias, number in (model.aliases or {}).items()}


def _former(versions: Sequence[ModelVersion]) -> dict[str, ModelVersion]:
    ordered = sorted(versions, key=lambda one: int(one.version))
    return {one.tags[FORMER_TAG]: one for one in ordered if FORMER_TAG in one.tags}


def _pointers(versions: Sequence[ModelVersion]) -> dict[str, list[Pointer]]:
    found: dict[str, list[Pointer]] = {}
    for version in versions:
        for key, text in version.tags.items():
            if key.startswith(TAG) and (pointer := _pointer(version, text)) is not None:
                found.setdefault(key.removeprefix(TAG), []).append(pointer)
    return found


def _pointer(version: ModelVersion, text: str) -> Pointer | None:
    """None for a tag that a person wrote in another form."""
    try:
        data = json_value(text)
    except ValueError:
        return None
    if not isinstance(data, dict) or type(data.get("when")) is not int or type(data.get("taken")) is not bool:
        return None
    if not 0 <= data["when"] < _TOO_LATE_NS:
        return None  # no pointer could be newer
    return Pointer(version=version, when=data["when"], taken=data["taken"])
