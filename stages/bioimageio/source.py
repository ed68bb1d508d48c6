"""The one network that is exported, by a reference to the registry or by its card."""

import json
from dataclasses import fields
from pathlib import Path

from mlflow.entities.model_registry import ModelVersion

from stages.common.errors import CapillaryError, DamagedError, ExitCode
from stages.common.registered.references import find_versions
from stages.common.tracking.registry import CARD_TAG, ModelCard, card_from, read_card
from stages.common.tracking.server import Server

_REMEDY = "name a version that this capillary registered, or train it again"


def card_of(reference: str | None, file: Path | None, server: Server) -> ModelCard:
    """The card in `file`, or that of the version that `reference` means.

    Raises CapillaryError (usage) for a reference to the networks of several folds: a package holds one.
    """
    if file is not None:
        return read_card(file)
    versions = find_versions(reference or "", server)
    if len(versions) > 1:
        names = ", ".join(f"{version.name}/{version.version}" for version in versions)
        raise CapillaryError(
            f"{reference} means {len(versions)} networks, and a package holds one",
            value=names,
            remedy="name one of them",
            code=ExitCode.USAGE,
        )
    return _card(versions[0])


def _card(version: ModelVersion) -> ModelCard:
    what = f"{version.name} version {version.version}"
    try:
        data = json.loads(version.tags.get(CARD_TAG, ""))
    except ValueError as error:
        raise DamagedError(f"{what} has no card (tag {CARD_TAG})", remedy=_REMEDY) from error
    if isinstance(data, dict):
        own = {"model_name": version.name, "model_version": str(version.version)}
        data |= {name: value for name, value in own.items() if name in {field.name for field in fields(ModelCard)}}
    return card_from(data, what, _REMEDY)
