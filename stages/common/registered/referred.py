"""The model cards of registered versions, which each version has as a tag."""

from mlflow.entities.model_registry import ModelVersion

from stages.common.errors import DamagedError, DataError
from stages.common.registered.finding import FoundNetwork, network_of_version
from stages.common.registered.references import find_versions
from stages.common.text import json_value
from stages.common.tracking.cards.card import ModelCard, card_from, without_assigned
from stages.common.tracking.registry import CARD_TAG
from stages.common.tracking.server import Server


def find_by_reference(reference: str, server: Server) -> list[FoundNetwork]:
    """The networks of the versions that `reference` means, in the order of their aliases.

    Raises what find_versions raises, and DataError for a version without a card.
    """
    versions = find_versions(reference, server)
    return [network_of_version(_card_of(version), version, server) for version in versions]


def _card_of(version: ModelVersion) -> ModelCard:
    what = f"{version.name} version {version.version}"
    remedy = "name a version that this capillary registered, or train it again"
    if CARD_TAG not in version.tags:
        raise DataError(f"{what} does not say how its images were prepared (tag {CARD_TAG})", remedy=remedy)
    try:
        data = json_value(version.tags[CARD_TAG])
    except ValueError as error:
        raise DamagedError(
            f"the card of {what} (tag {CARD_TAG}) is not JSON: {error}",
            remedy=remedy,
            value=version.tags[CARD_TAG][:200],
        ) from error
    return card_from(_named(data, version), what, remedy)


def _named(data: object, version: ModelVersion) -> object:
    """A card of today, without what previous ones held; that of a pickle with the name by which it is converted."""
    if isinstance(data, dict) and "files" not in data:
        return {**data, "model_name": version.name, "model_version": str(version.version)}
    return without_assigned(data)
