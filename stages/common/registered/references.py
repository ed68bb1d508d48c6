"""Versions of registered models by NAME@ALIAS, NAME/VERSION, or NAME for the network of every fold."""

import re

from mlflow.entities.model_registry import ModelVersion

from stages.common.errors import CapillaryError, DataError, ExitCode
from stages.common.tracking.registry import ALIAS_TAG
from stages.common.tracking.server import RefusedError, Server, redact

_REFERENCE = re.compile(r"(?P<name>[^@/]+)(@(?P<alias>[^@/]+)|/(?P<version>\d+))?")
_FOLD = "fold-"


def find_versions(reference: str, server: Server) -> list[ModelVersion]:
    """The versions that `reference` means, in the order of their aliases.

    Raises CapillaryError (usage) for a reference of another form, DataError when the registry has no such version, and
    ServiceError when it does not answer.
    """
    form = _REFERENCE.fullmatch(reference)
    if form is None:
        raise CapillaryError(
            "a model is named in none of the forms NAME, NAME@ALIAS and NAME/VERSION",
            remedy="write it such as capillary-dice_ce, capillary-dice_ce@fold-0 or capillary-dice_ce/3",
            code=ExitCode.USAGE,
            value=reference,
        )
    name, alias, version = form["name"], form["alias"], form["version"]
    try:
        if version:
            found = [server.call("find a model version", lambda: server.client.get_model_version(name, version))]
        else:
            found = _by_aliases(name, alias, server)
    except RefusedError as error:
        raise _nothing(reference, server) from error
    if not found:
        raise _nothing(reference, server)
    return found


def aliases_of(name: str, server: Server) -> dict[str, ModelVersion]:
    """Alias → version of the model `name`."""
    aliases = server.call("find a model", lambda: server.client.get_registered_model(name)).aliases
    versions = server.call("list model versions", lambda: server.client.search_model_versions(f"name = '{name}'"))
    by_number = {str(one.version): one for one in versions}
    under = {key: by_number[str(number)] for key, number in aliases.items() if str(number) in by_number}
    # servers without aliases have a tag in their place; the latest version that carries it counts
    for one in sorted(versions, key=lambda one: int(one.version)):
        if ALIAS_TAG in one.tags and one.tags[ALIAS_TAG] not in aliases:
            under[one.tags[ALIAS_TAG]] = one
    return under


def _by_aliases(name: str, alias: str | None, server: Server) -> list[ModelVersion]:
    """The version under `alias`, or those under every alias of a fold."""
    under = aliases_of(name, server)
    if alias is not None:
        return [under[alias]] if alias in under else []
    return [under[key] for key in sorted(under) if key.startswith(_FOLD)]


def _nothing(reference: str, server: Server) -> DataError:
    return DataError(
        f"the registry at {redact(server.uri)} has no model {reference}",
        remedy="look at its names, versions and aliases (mlflow ui), or point MLFLOW_TRACKING_URI at another one",
        value=reference,
    )
