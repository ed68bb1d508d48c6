"""A model back from the registry: fetched, checked against its card, and only then read. Nothing is unpickled."""

from functools import partial

import torch

from stages.common.errors import DataError, ServiceError
from stages.common.networks.description import DESCRIPTION, ModelDescription, read_description
from stages.common.networks.loading import load_network, outline, refuse_size
from stages.common.networks.weights import WEIGHTS, weights_sha256
from stages.common.registered.files import fetch_file
from stages.common.tracking.model_files import FOLDER, file_of
from stages.common.tracking.registry import WEIGHTS_TAG, ModelCard
from stages.common.tracking.server import RefusedError, Server, redact

CARDS = "models"


def load_model(card: ModelCard, *, server: Server) -> torch.nn.Module:
    """The network that `card` names, from the registry, on the CPU, in eval mode.

    Raises DataError when its files are not those that the card describes and ServiceError when they cannot be had.
    """
    what = f"{card.model_name} version {card.model_version} (loss {card.loss}, fold {card.fold})"
    _refuse_foreign(card, server, what)
    description = read_description(_fetch(DESCRIPTION, card, server, what), f"{DESCRIPTION} of {what}")
    _refuse_other_recipe(description, card, what)
    origin = f"{WEIGHTS} of {what}"
    refuse_size(outline(description, origin), card.files[WEIGHTS].bytes, origin)  # before it is fetched
    model = load_network(description, _fetch(WEIGHTS, card, server, what), origin)
    if (found := weights_sha256(model)) != card.weights_sha256:
        raise DataError(
            f"{what} holds other weights than its card says",
            remedy=f"run `dvc repro -f train@{card.loss}-{card.fold}`",
            value=f"{found} instead of {card.weights_sha256}",
        )
    return model


def _refuse_other_recipe(description: ModelDescription, card: ModelCard, what: str) -> None:
    """Raise DataError when card and description do not agree on what the network expects."""
    pairs = {
        "patch_voxels": (description.plan.patch_voxels, card.patch_voxels),
        "precision": (description.precision, card.precision),
        "recipe": (description.preparation(), card.recipe),
    }
    for name, (described, on_card) in pairs.items():
        if described != on_card:
            raise DataError(
                f"the card of {what} and the model's {DESCRIPTION} differ in `{name}`",
                remedy=f"run `dvc repro -f train@{card.loss}-{card.fold}`",
                value=f"{on_card} on the card, {described} in {DESCRIPTION}",
            )


def _refuse_foreign(card: ModelCard, server: Server, what: str) -> None:
    """Raise CapillaryError when the registry has no such version, or one of another training under its number.

    A card does not say which server numbered its model. Version 1 of dice_ce is on every server.
    """
    place = redact(server.uri)
    try:
        ask = partial(server.client.get_model_version, card.model_name, card.model_version)
        version = server.call("find a model version", ask)
    except RefusedError as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            return  # a server that does not tell may still give the model; if not, the download says why
        raise ServiceError(
            f"the registry at {place} has no {what}: it was registered on another server, or deleted from this one",
            remedy=_elsewhere(card),
            value=error.value,
        ) from error
    told = version.tags.get(WEIGHTS_TAG, card.weights_sha256)
    if told != card.weights_sha256:
        raise DataError(
            f"{what} in the registry at {place} is of another training: it has other weights than the card says. "
            "The card's model was registered on another server, or this server's was replaced",
            remedy=_elsewhere(card),
            value=f"{told} instead of {card.weights_sha256}",
        )


def _elsewhere(card: ModelCard) -> str:
    return (
        "set MLFLOW_TRACKING_URI as it was when this model was trained (if unset, that project's mlruns/ is needed); "
        f"if that model is gone, train it again here: `dvc repro -f -s train@{card.loss}-{card.fold}`"
    )


def _fetch(name: str, card: ModelCard, server: Server, what: str) -> bytes:
    """The content of the model's file `name`, which has the size and SHA-256 that the card gives."""
    place, expected = redact(server.uri), card.files[name]
    try:
        content = fetch_file(f"{FOLDER}/{name}", card.model_name, card.model_version, server, expected.bytes)
    except RefusedError as error:
        raise ServiceError(
            f"the registry at {place} does not give {name} of {what}", remedy=_elsewhere(card), value=error.value
        ) from error
    if (found := file_of(content)) != expected:
        raise DataError(
            f"{name} of {what}, as the registry at {place} gives it, is not the file that the model's card names",
            remedy=f"find out who changed it, or train it again: `dvc repro -f train@{card.loss}-{card.fold}`",
            file=f"{CARDS}/{card.loss}/fold_{card.fold}.json",
            value=f"SHA-256 {found.sha256} ({found.bytes:,} bytes) instead of {expected.sha256} ({expected.bytes:,})",
        )
    return content
