"""A model back from the registry: fetched, checked against its card, and only then read. Nothing is unpickled."""

import stat
import tempfile
from functools import partial
from pathlib import Path

import torch
from mlflow.entities import FileInfo
from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from stages.common.errors import DataError, ServiceError
from stages.common.networks.description import DESCRIPTION, ModelDescription, read_description
from stages.common.networks.loading import load_network, outline, refuse_size
from stages.common.networks.weights import WEIGHTS, weights_sha256
from stages.common.progress import say
from stages.common.tracking.model_files import FOLDER, file_of
from stages.common.tracking.registry import SEED_TAG, WEIGHTS_TAG, ModelCard, address_words
from stages.common.tracking.server import RefusedError, Server, patient_transfers, redact, settled

CARDS = "models"


def load_model(card: ModelCard, *, server: Server) -> torch.nn.Module:
    """The network that `card` names, from the registry, on the CPU, in eval mode.

    Raises DataError when its files are not those that the card describes and ServiceError when they cannot be had.
    """
    what = f"{card.model_name} version {card.model_version} (loss {card.loss}, fold {card.fold})"
    _refuse_foreign(card, server, what)
    _tell_moved_alias(card, server, what)
    description = read_description(_fetch(DESCRIPTION, card, server, what), f"{DESCRIPTION} of {what}")
    _refuse_other_recipe(description, card, what)
    origin = f"{WEIGHTS} of {what}"
    refuse_size(outline(description, origin), card.files[WEIGHTS].bytes, origin)  # before it is fetched
    model = load_network(description, _fetch(WEIGHTS, card, server, what), origin)
    if (found := weights_sha256(model)) != card.weights_sha256:
        raise DataError(
            f"{what} holds other weights than its card says",
            remedy=f"run {address_words(card)}",
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
                remedy=f"run {address_words(card)}",
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


def _tell_moved_alias(card: ModelCard, server: Server, what: str) -> None:
    """Say when people who go by the alias get another version than the card names, which is the one that is used."""
    alias = f"fold-{card.fold}"
    try:
        model = server.call("find a model", lambda: server.client.get_registered_model(card.model_name))
    except RefusedError:
        return  # the version was found, or the download says what is wrong
    version = str(model.aliases.get(alias, card.model_version))
    if version != card.model_version and _is_of_seed(card, version, server):
        say(
            f"{what} is used, as its card says; the alias {alias} is at version {version}, which another training "
            "registered: git pull and dvc pull bring its card, if somebody shared it"
        )


def _is_of_seed(card: ModelCard, version: str, server: Server) -> bool:
    """Whether `version` was trained from the card's seed, as far as it says: an alias is of a fold alone."""
    try:
        found = server.call("find a model version", partial(server.client.get_model_version, card.model_name, version))
    except RefusedError:
        return False
    return bool(found.tags.get(SEED_TAG, str(card.seed)) == str(card.seed))


def _elsewhere(card: ModelCard) -> str:
    return (
        "set MLFLOW_TRACKING_URI as it was when this model was trained (if unset, that project's mlruns/ is needed); "
        f"if that model is gone, train it again here: {address_words(card, '-f -s')}"
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
            remedy=f"find out who changed it, or train it again: {address_words(card)}",
            file=f"{CARDS}/{card.loss}/fold_{card.fold}.json",
            value=f"SHA-256 {found.sha256} ({found.bytes:,} bytes) instead of {expected.sha256} ({expected.bytes:,})",
        )
    return content


def fetch_file(path: str, model: str, version: str, server: Server, most_bytes: int) -> bytes:
    """The content of the file `path` of a version; alone, whatever else its folder holds.

    Raises DataError when it is no plain file of at most `most_bytes`, as the registry lists it and as it arrives.
    """

    def find() -> ArtifactRepository:
        source = server.client.get_model_version_download_uri(model, version)
        return get_artifact_repository(source, tracking_uri=server.uri)

    where = f"{path} of {model} version {version} in the registry at {redact(server.uri)}"
    with tempfile.TemporaryDirectory() as folder, patient_transfers(), settled(server):
        files = server.call("find a model", find)
        listed = server.call("list a model's files", lambda: files.list_artifacts(path.rpartition("/")[0]))
        _check_listed(next((file for file in listed if file.path == path), None), most_bytes, where)
        file = Path(server.call("give a model", lambda: files.download_artifacts(path, folder)))  # type: ignore[no-untyped-call]
        if not stat.S_ISREG(file.lstat().st_mode):
            raise _unsuitable(where, "it is not a file", None)
        if file.stat().st_size > most_bytes:
            raise _unsuitable(where, "it is larger than it can be", f"{file.stat().st_size:,}, at most {most_bytes:,}")
        return file.read_bytes()


def _check_listed(file: FileInfo | None, most_bytes: int, where: str) -> None:
    if file is None:
        raise _unsuitable(where, "there is no such file", None)
    if file.is_dir:
        raise _unsuitable(where, "it is not a file", None)
    if (file.file_size or 0) > most_bytes:
        raise _unsuitable(where, "it is larger than it can be", f"{file.file_size:,} bytes, at most {most_bytes:,}")


def _unsuitable(where: str, why: str, value: str | None) -> DataError:
    return DataError(
        f"{where}: {why}",
        remedy="name another version, or train the model again",
        value=value,
    )
