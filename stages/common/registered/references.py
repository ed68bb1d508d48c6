"""Versions of registered models by NAME@ALIAS, NAME/VERSION, or NAME for the champion.

A training stands for its networks: whoever names one gets the versions of all its cells.
"""

import re

from mlflow.entities.model_registry import ModelVersion

from stages.common.errors import CapillaryError, DataError, UsageError
from stages.common.registered.aliases import aliases_of, read_model
from stages.common.registered.trainings.reading import is_training, networks_of
from stages.common.registered.versions import get_version, nothing
from stages.common.tracking.names import CHAMPION
from stages.common.tracking.server import Server, redact

_REFERENCE = re.compile(r"(?P<name>[^@/']+)(@(?P<alias>[^@/]+)|/(?P<version>\d+))?")
_MOST_NAMED = 10  # versions in a message, the newest
_FOLD = "fold-"  # aliases of previous programs: the network of a fold that was trained last


def find_versions(reference: str, server: Server) -> list[ModelVersion]:
    """The versions of the networks that `reference` means: in the order of a training's cells, or of their aliases.

    Raises CapillaryError (usage) for a reference of another form, DataError when the registry has no such version, and
    ServiceError when it does not answer or refuses the login.
    """
    return [network for found in named_versions(reference, server) for network in _networks(found, server)]


def named_versions(reference: str, server: Server) -> list[ModelVersion]:
    """What `reference` names, a training as the one version that it is. Raises as find_versions."""
    form = _REFERENCE.fullmatch(reference)
    if form is None:
        raise UsageError(
            "this is not a model's name: the forms are NAME, NAME@ALIAS and NAME/VERSION",
            remedy="write it like capillary-default@champion or capillary-default/3",
            value=reference,
        )
    name, alias, version = form["name"], form["alias"], form["version"]
    found = [_numbered(name, version, server)] if version else _by_aliases(name, alias, server)
    if not found:
        raise _no_alias(reference, name, alias, server)
    return found


def named_version(reference: str, server: Server) -> ModelVersion:
    """The one version that `reference` names. Raises as find_versions, and CapillaryError (usage) for several."""
    found = named_versions(reference, server)
    if len(found) > 1:
        raise UsageError(
            f"{reference} names {len(found)} networks, not one version",
            remedy="write NAME@ALIAS or NAME/VERSION",
            value=", ".join(f"{one.name}/{one.version}" for one in found),
        )
    return found[0]


def _networks(version: ModelVersion, server: Server) -> list[ModelVersion]:
    return networks_of(version, server) if is_training(version) else [version]


def _numbered(name: str, version: str, server: Server) -> ModelVersion:
    try:
        return get_version(name, version, server)
    except DataError as error:
        raise _absent(name, f"version {version}", server, error) from error


def _by_aliases(name: str, alias: str | None, server: Server) -> list[ModelVersion]:
    """The version under `alias`; without one the champion, or what previous programs left under each fold's alias."""
    under = aliases_of(name, server)
    if alias is not None:
        return [under[alias]] if alias in under else []
    if CHAMPION in under:
        return [under[CHAMPION]]
    return [under[key] for key in sorted(under) if key.startswith(_FOLD)]


def _no_alias(reference: str, name: str, alias: str | None, server: Server) -> DataError:
    if alias is None:
        return DataError(
            f"{name} has no champion",
            remedy="name a version (NAME/VERSION), or another model; capillary models lists them",
            value=reference,
        )
    return _absent(name, f"alias {alias}", server, nothing(reference, server))


def _absent(name: str, what: str, server: Server, unknown: DataError) -> DataError:
    """The error for a model that is there, but not `what` of it: what there is instead; `unknown` if nothing is."""
    try:
        versions, aliases, _ = read_model(name, server)
    except CapillaryError:
        return unknown
    if not versions:
        return unknown
    shown = [str(one.version) for one in versions[-_MOST_NAMED:]]
    more = "…, " if len(versions) > len(shown) else ""
    there = f"version{'s' if len(versions) > 1 else ''} {more}{', '.join(shown)}"
    if aliases:
        there += f" and the alias{'es' if len(aliases) > 1 else ''} {', '.join(sorted(aliases))}"
    return DataError(
        f"{name} has no {what} in the registry at {redact(server.uri)}",
        remedy=f"it has {there}; or point MLFLOW_TRACKING_URI at another registry",
        value=unknown.value,
    )
