"""A model back from where it is kept: fetched, checked against its card, and only then read. Nothing is unpickled."""

import torch

from stages.common.errors import DataError, ServiceError
from stages.common.inference import AUTOCAST
from stages.common.networks.description import DESCRIPTION, WEIGHTS, ModelDescription, read_description
from stages.common.networks.loading import load_network, outline, refuse_size
from stages.common.networks.weights import weights_sha256
from stages.common.program.messages import get_logger
from stages.common.registered.finding import FoundNetwork
from stages.common.registered.kept import read_kept, weights_from_remote
from stages.common.tracking.cards.card import ModelCard, address_words
from stages.common.tracking.model_files import file_of
from stages.common.tracking.server import RefusedError

log = get_logger(__name__)

CARDS = "models"


def load_model(network: FoundNetwork) -> torch.nn.Module:
    """The network on the CPU, in eval mode.

    Raises DataError when its files are not those that its card describes and ServiceError when they cannot be had.
    """
    return load_described(network)[0]


def load_described(network: FoundNetwork) -> tuple[torch.nn.Module, ModelDescription]:
    """As load_model, with the network's description."""
    card, what = network.card, network.label
    contents = files_of(network)
    description = read_description(contents[DESCRIPTION], f"{DESCRIPTION} of {what}")
    _refuse_other_recipe(description, card, what)
    model = load_network(description, contents[WEIGHTS], f"{WEIGHTS} of {what}")
    if (found := weights_sha256(model)) != card.weights_sha256:
        raise DataError(
            f"{what} has other weights than its card says",
            remedy=f"run {address_words(card)}",
            value=f"{found} instead of {card.weights_sha256}",
        )
    return model, description


def files_of(network: FoundNetwork) -> dict[str, bytes]:
    """Name → content of the network's files, which have the sizes and hashes on its card.

    Where they cannot be had, or are others, those that DVC keeps in weights/ are taken.
    """
    try:
        return _fetched(network)
    except (ServiceError, DataError) as error:
        folder = weights_from_remote(network.card)
        if folder is None:
            raise
        log.warning(f"{network.label} is read from {folder}: {error.what}")
        return read_kept(folder, network.card)


def _fetched(network: FoundNetwork) -> dict[str, bytes]:
    content, origin = _fetch(DESCRIPTION, network), f"{WEIGHTS} of {network.label}"
    description = read_description(content, f"{DESCRIPTION} of {network.label}")
    refuse_size(outline(description, origin), network.card.files[WEIGHTS].bytes, origin)  # before it is fetched
    return {DESCRIPTION: content, WEIGHTS: _fetch(WEIGHTS, network)}


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
                remedy=f"run {address_words(card)}",
                value=f"{on_card} on the card, {described} in {DESCRIPTION}",
            )


def _fetch(name: str, network: FoundNetwork) -> bytes:
    """The content of the network's file `name`, which has the size and SHA-256 that the card gives."""
    card = network.card
    expected = card.files[name]
    try:
        content = network.fetch(name, expected.bytes)
    except RefusedError as error:
        raise ServiceError(
            f"{network.place} does not have {name} of {network.label}",
            remedy="set MLFLOW_TRACKING_URI to its value when this model was trained; if that model is gone, train it "
            f"again here: {address_words(card)}",
            value=error.value,
        ) from error
    if (found := file_of(content)) != expected:
        raise DataError(
            f"{name} of {network.label}, as {network.place} has it, does not match the model's card",
            remedy=f"find out who changed it, or train it again: {address_words(card)}",
            file=f"{CARDS}/{card.loss}/fold_{card.fold}.json",
            value=f"SHA-256 {found.sha256} ({found.bytes:,} bytes) instead of {expected.sha256} ({expected.bytes:,})",
        )
    return content


def autocast_of(card: ModelCard) -> torch.dtype | None:
    """The type in which the card's network computes, None for plain float32. DataError for one that is unknown."""
    if card.precision not in AUTOCAST:
        raise DataError(
            f"the model card of loss {card.loss}, fold {card.fold} names an unknown precision",
            remedy=f"train it again; known: {', '.join(AUTOCAST)}",
            value=card.precision,
        )
    return AUTOCAST[card.precision]
