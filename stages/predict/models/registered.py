"""Models by their names in the registry: NAME@ALIAS, NAME/VERSION, or NAME for the network of every fold."""

import json
import re

from mlflow.entities.model_registry import ModelVersion

from stages.common.errors import CapillaryError, DamagedError, DataError, ExitCode
from stages.common.tracking.registry import ALIAS_TAG, CARD_TAG, ModelCard, card_from
from stages.common.tracking.server import RefusedError, Server, redact

_REFERENCE = re.compile(r"(?P<name>[^@/]+)(@(?P<alias>[^@/]+)|/(?P<version>\d+))?")
_FOLD = "fold-"


def find_cards(reference: str, server: Server) -> list[ModelCard]:
    """The cards of the versions that `reference` means, in the order of their aliases.

    Raises CapillaryError (usage) for a reference of another form, DataError when the registry has no such version or
    one without a card, and ServiceError when it does not answer.
    """
    form = _REFERENCE.fullmatch(reference)
    if form is None:
        raise CapillaryError(
            "--model is none of NAME, NAME@ALIAS and NAME/VERSION",
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
    return [_card_of(one) for one in found]


def _by_aliases(name: str, alias: str | None, server: Server) -> list[ModelVersion]:
    """The versions under `alias`, or under every alias of a fold."""
    aliases = server.call("find a model", lambda: server.client.get_registered_model(name)).aliases
    versions = server.call("list model versions", lambda: server.client.search_model_versions(f"name = '{name}'"))
    by_number = {str(one.version): one for one in versions}
    under = {key: by_number[str(number)] for key, number in aliases.items() if str(number) in by_number}
    # servers without aliases have a tag in their place; the latest version that carries it counts
    for one in sorted(versions, key=lambda one: int(one.version)):
        if ALIAS_TAG in one.tags and one.tags[ALIAS_TAG] not in aliases:
            under[one.tags[ALIAS_TAG]] = one
    if alias is not None:
        return [under[alias]] if alias in under else []
    return [under[key] for key in sorted(under) if key.startswith(_FOLD)]


def _card_of(version: ModelVersion) -> ModelCard:
    what = f"{version.name} version {version.version}"
    remedy = "name a version that this capillary registered, or train it again"
    if CARD_TAG not in version.tags:
        raise DataError(f"{what} does not say how its images were prepared (tag {CARD_TAG})", remedy=remedy)
    try:
        data = json.loads(version.tags[CARD_TAG])
    except ValueError as error:
        raise DamagedError(
            f"the card of {what} (tag {CARD_TAG}) is not JSON: {error}",
            remedy=remedy,
            value=version.tags[CARD_TAG][:200],
        ) from error
    named = (
        {**data, "model_name": version.name, "model_version": str(version.version)} if isinstance(data, dict) else data
    )
    return card_from(named, what, remedy)


def _nothing(reference: str, server: Server) -> DataError:
    return DataError(
        f"the registry at {redact(server.uri)} has no model {reference}",
        remedy="look at its names, versions and aliases (mlflow ui), or point MLFLOW_TRACKING_URI at another one",
        value=reference,
    )
