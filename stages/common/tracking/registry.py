"""The model registry: a fold's network becomes a version of the model capillary-<loss>, and comes back from there.

One road for every server, MLflow 2.7 and 3.x alike: save_model → log_artifacts → create_model_version → alias. (A 3.x
client's log_model asks for endpoints that older and hosted servers do not have.)
"""

import hashlib
import json
import logging
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import mlflow.artifacts
import mlflow.pytorch
import torch
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from stages.common.atomic import atomic_write
from stages.common.errors import CapillaryError, DamagedError, DataError, ExitCode, ServiceError
from stages.common.imaging.recipe import Recipe, recipe_from
from stages.common.progress import say
from stages.common.tracking.card_fields import wrong_field
from stages.common.tracking.server import RefusedError, Server, patient_transfers, redact, settled

WEIGHTS_TAG = "capillary.weights_sha256"
ALIAS_TAG = "capillary.alias"
# on a version: its card, for who has no models/ at hand (stages/predict/models)
CARD_TAG = "capillary.card"
_AUTOCAST = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
_PINNED = ("torch", "monai", "numpy", "mlflow")


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """What train leaves in models/<loss>/fold_<k>.json: where the network is, and how to know it is the right one."""

    loss: str
    fold: int
    run_id: str
    model_name: str
    model_version: str
    weights_sha256: str
    patch_voxels: tuple[int, int, int]
    epochs: int
    validation_dsc: float
    fingerprint: str
    precision: str
    recipe: Recipe


def autocast_of(card: ModelCard) -> torch.dtype | None:
    """The type in which the card's network computes, None for plain float32. DataError for one that is unknown."""
    if card.precision not in _AUTOCAST:
        raise DataError(
            f"the model card of loss {card.loss}, fold {card.fold} names an unknown precision",
            remedy=f"train it again; known: {', '.join(_AUTOCAST)}",
            value=card.precision,
        )
    return _AUTOCAST[card.precision]


def write_card(path: Path, card: ModelCard) -> None:
    """Write `card` as JSON; equal cards give equal bytes."""
    with atomic_write(path) as stream:
        stream.write(card_json(card, indent=2).encode() + b"\n")


def card_json(card: ModelCard, indent: int | None = None) -> str:
    """`card` as JSON."""
    return json.dumps(asdict(card), indent=indent)


def read_card(path: Path) -> ModelCard:
    """The card in `path`. Raises DataError when it is missing, damaged or of another version of this program."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(
            "this fold has no model card: it was not trained", remedy=f"run `dvc repro {_cell(path)}`", file=path
        ) from error
    except ValueError as error:
        raise DamagedError(f"the model card is not JSON: {error}", remedy=_retrain(path), file=path) from error
    return card_from(data, path, _retrain(path))


def card_from(data: object, origin: object, remedy: str) -> ModelCard:
    """`data`, as JSON has it, as a card. Raises DataError naming `origin` when it is of another version or damaged."""
    names = {field.name for field in fields(ModelCard)}
    if not isinstance(data, dict):
        raise DamagedError(
            "the model card is not a JSON object", remedy=remedy, file=origin, value=f"a {type(data).__name__}"
        )
    if differing := [*(f"it lacks {name}" for name in sorted(names - data.keys()))] + [
        f"it has {name}" for name in sorted(data.keys() - names)
    ]:
        raise DataError(
            "the model card is not of this version of capillary", remedy=remedy, file=origin, value=", ".join(differing)
        )
    if (wrong := wrong_field(data)) is not None:
        raise DamagedError(
            f"the model card is damaged: `{wrong}` is not what it should be",
            remedy=remedy,
            file=origin,
            value=repr(data[wrong])[:200],
        )
    patch, recipe = tuple(data["patch_voxels"]), recipe_from(data["recipe"], origin)
    return ModelCard(**{**data, "patch_voxels": patch, "recipe": recipe})


def _cell(card_path: Path) -> str:
    return f"train@{card_path.parent.name}-{card_path.stem.removeprefix('fold_')}"


def _retrain(card_path: Path) -> str:
    return f"run `dvc checkout --force {card_path}` or, if it never was right, `dvc repro -f {_cell(card_path)}`"


def weights_sha256(model: torch.nn.Module) -> str:
    """SHA-256 over the state dict: name, dtype, shape and bytes of each tensor, sorted by name."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        # through uint8, because numpy has no bfloat16
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def register_model(
    model: torch.nn.Module,
    *,
    server: Server,
    run_id: str,
    loss: str,
    fold: int,
    extra_tags: dict[str, str] | None = None,
) -> tuple[str, str]:
    """Upload `model` to its run and register it as capillary-<loss> under the alias fold-<fold>; (name, version).

    May be repeated: one run and one set of weights make one version, because a version is created after its files are
    complete and is looked for first. `model` must consist of torch's and MONAI's classes, since it comes back in a
    stage that does not see the training code. Raises ServiceError when the server does not take it.
    """
    _refuse_own_classes(model)
    name, weights = f"capillary-{loss}", weights_sha256(model)
    server.call("create a registered model", lambda: _ensure_name(server, name))
    versions = server.call("list model versions", lambda: _versions_of_run(server, name, run_id))
    known = next((version for version in versions if version.tags.get(WEIGHTS_TAG) == weights), None)
    if known is None:
        # never over the files of a version that exists
        folder = "model" if not versions else f"model-{weights[:12]}"
        tags = {WEIGHTS_TAG: weights, "capillary.fold": str(fold), **(extra_tags or {})}
        with settled(server):
            source = _upload(model, server, run_id, folder)
            known = server.call("create a model version", lambda: _find_or_create(server, name, run_id, source, tags))
    version = str(known.version)
    _set_alias(server, name, f"fold-{fold}", version)
    return name, version


def _refuse_own_classes(model: torch.nn.Module) -> None:
    own = {type(part).__qualname__ for part in model.modules() if type(part).__module__.startswith("stages.")}
    if own:
        raise CapillaryError(
            "a registered model must load where stages/train is not visible",
            remedy="build it from torch's and MONAI's classes only",
            code=ExitCode.UNEXPECTED,
            value=", ".join(sorted(own)),
        )


def _ensure_name(server: Server, name: str) -> None:
    try:
        server.client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _versions_of_run(server: Server, name: str, run_id: str) -> list[ModelVersion]:
    found = server.client.search_model_versions(f"name = '{name}' and run_id = '{run_id}'")
    return [version for version in found if version.name == name and version.run_id == run_id]


def _find_or_create(server: Server, name: str, run_id: str, source: str, tags: dict[str, str]) -> ModelVersion:
    # looked for at each attempt: the answer to the attempt before may have been lost
    for version in _versions_of_run(server, name, run_id):
        if version.tags.get(WEIGHTS_TAG) == tags[WEIGHTS_TAG]:
            return version
    return server.client.create_model_version(name, source=source, run_id=run_id, tags=tags)


def _upload(model: torch.nn.Module, server: Server, run_id: str, folder: str) -> str:
    """Save `model` and upload it to `folder` of the run's artifacts; the URI of that folder."""
    logging.getLogger("mlflow.pytorch").setLevel(logging.ERROR)  # it warns of pickle at each save; the checksum guards
    with tempfile.TemporaryDirectory() as temporary, patient_transfers():
        local = Path(temporary) / "model"
        mlflow.pytorch.save_model(
            model, str(local), pip_requirements=pinned_requirements(), serialization_format="pickle"
        )
        server.call("take an upload", lambda: server.client.log_artifacts(run_id, str(local), folder))
    run = server.call("find a run", lambda: server.client.get_run(run_id))
    return f"{run.info.artifact_uri}/{folder}"


def pinned_requirements() -> Sequence[str]:
    """What a consumer of the model needs, at the versions installed here."""
    return [f"{package}=={metadata.version(package).split('+')[0]}" for package in _PINNED]


def _set_alias(server: Server, name: str, alias: str, version: str) -> None:
    client = server.client
    try:
        server.call("set an alias", lambda: client.set_registered_model_alias(name, alias, version))
    except RefusedError as error:
        server.call("tag a version", lambda: client.set_model_version_tag(name, version, ALIAS_TAG, alias))
        say(f"{error.what}: version {version} of {name} carries the tag {ALIAS_TAG} = {alias} instead")


def load_model(card: ModelCard, *, server: Server) -> torch.nn.Module:
    """The network that `card` names, from the registry, on the CPU, in eval mode.

    Raises DataError when its weights are not those that were trained and ServiceError when it cannot be had.
    """
    what = f"{card.model_name} version {card.model_version} (loss {card.loss}, fold {card.fold})"
    _refuse_foreign(card, server, what)
    _tell_moved_alias(card, server, what)
    with tempfile.TemporaryDirectory() as temporary:
        try:
            model = _download(card, server, temporary)
        except RefusedError as error:
            raise ServiceError(
                f"the registry at {redact(server.uri)} does not give {what}", remedy=_elsewhere(card), value=error.value
            ) from error
    if (found := weights_sha256(model)) != card.weights_sha256:
        raise DataError(
            f"{what} holds other weights than its card says",
            remedy=f"run `dvc repro -f train@{card.loss}-{card.fold}`",
            value=f"{found} instead of {card.weights_sha256}",
        )
    return model.eval()


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
    if version != card.model_version:
        say(
            f"{what} is used, as its card says; the alias {alias} is at version {version}, which another training "
            "registered: git pull and dvc pull bring its card, if somebody shared it"
        )


def _elsewhere(card: ModelCard) -> str:
    return (
        "set MLFLOW_TRACKING_URI as it was when this model was trained (if unset, that project's mlruns/ is needed); "
        f"if that model is gone, train it again here: `dvc repro -f -s train@{card.loss}-{card.fold}`"
    )


def _download(card: ModelCard, server: Server, folder: str) -> torch.nn.Module:
    def fetch() -> str:
        source = server.client.get_model_version_download_uri(card.model_name, card.model_version)
        return str(mlflow.artifacts.download_artifacts(artifact_uri=source, dst_path=folder, tracking_uri=server.uri))

    with patient_transfers(), settled(server):
        local = server.call("give a model", fetch)
    model: Any = mlflow.pytorch.load_model(local, map_location="cpu")
    if not isinstance(model, torch.nn.Module):
        raise DataError("the registered model is no torch module", remedy="train it again", value=type(model).__name__)
    return model
