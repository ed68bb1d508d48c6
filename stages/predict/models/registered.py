"""The model cards of registered versions, which each version has as a tag."""

import json

from mlflow.entities.model_registry import ModelVersion

from stages.common.errors import DamagedError, DataError
from stages.common.registered.references import find_versions
from stages.common.tracking.registry import CARD_TAG, ModelCard, card_from
from stages.common.tracking.server import Server


def find_cards(reference: str, server: Server) -> list[ModelCard]:
    """The cards of the versions that `reference` means, in the order of their aliases.

    Raises what find_versions raises, and DataError for a version without a card.
    """
    return [_card_of(version) for version in find_versions(reference, server)]


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
