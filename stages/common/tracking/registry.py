"""The model registry: a fold's network becomes a version of the model capillary-<loss>; loading.py brings it back.

One road for every server, MLflow 2.7 and 3.x alike: save_model → log_artifacts → create_model_version → alias. (A 3.x
client's log_model asks for endpoints that older and hosted servers do not have.)
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from stages.common.atomic import atomic_write
from stages.common.errors import DamagedError, DataError
from stages.common.imaging.recipe import Recipe, recipe_from
from stages.common.progress import say
from stages.common.tracking.card_fields import wrong_field
from stages.common.tracking.model_files import ModelFile, Package, mlflow_folder
from stages.common.tracking.server import RefusedError, Server, patient_transfers, settled
from stages.common.tracking.training_domain import TrainingDomain, domain_from

WEIGHTS_TAG = "capillary.weights_sha256"
ALIAS_TAG = "capillary.alias"
# on a version: its card, for who has no models/ at hand (stages/predict/models)
CARD_TAG = "capillary.card"
# on a version: the form of its files; a version without the tag is a pickle of a former version of capillary
FORMAT_TAG = "capillary.format"
FORMAT = "safetensors-1"
# on a version that `capillary models convert` made: the number of the old one
CONVERTED_TAG = "capillary.converted_from"
# on a version: the fingerprint of its training. Equal ones with equal weights are one version
FINGERPRINT_TAG = "capillary.fingerprint"
# on a version: hash of loss, data, code and params without the seed, which all cells of a training have in common
SETUP_TAG = "capillary.setup"
SEED_TAG = "capillary.seed"
_AUTOCAST = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


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
    files: Mapping[str, ModelFile]
    domain: TrainingDomain | None = None  # None on cards of former versions


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
    if isinstance(data, dict) and names - data.keys() - {"domain"} == {"files"}:
        raise _pickled(data, origin, remedy)
    if not isinstance(data, dict):
        raise DamagedError(
            "the model card is not a JSON object", remedy=remedy, file=origin, value=f"a {type(data).__name__}"
        )
    data = {"domain": None, **data}
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
    files = {name: ModelFile(**file) for name, file in data["files"].items()}
    domain = domain_from(data["domain"], origin, remedy)
    return ModelCard(**{**data, "patch_voxels": patch, "recipe": recipe, "files": files, "domain": domain})


def _pickled(data: Mapping[str, Any], origin: object, remedy: str) -> DataError:
    named = f"{data['model_name']}/{data['model_version']}" if data["model_version"] else "NAME/VERSION"
    return DataError(
        "the model was registered by a former version of capillary, as a pickle, which is not read any more",
        remedy=f"convert it (`capillary models convert {named}`), or train it again: {remedy}",
        file=origin,
        value="the model card lacks `files`",
    )


def _cell(card_path: Path) -> str:
    return f"train@{card_path.parent.name}-{card_path.stem.removeprefix('fold_')}"


def _retrain(card_path: Path) -> str:
    return f"run `dvc checkout --force {card_path}` or, if it never was right, `dvc repro -f {_cell(card_path)}`"


def register_model(
    package: Package,
    *,
    server: Server,
    run_id: str,
    loss: str,
    fold: int,
    extra_tags: dict[str, str] | None = None,
    with_alias: bool = True,
) -> tuple[str, str]:
    """Upload `package` to its run and register it as capillary-<loss>, under the alias fold-<fold> unless it is not to
    have it; (name, version).

    May be repeated: one run and one set of weights make one version, because a version is created after its files are
    complete and is looked for first. Raises ServiceError when the server does not take it.
    """
    name, weights = f"capillary-{loss}", package.weights_sha256
    server.call("create a registered model", lambda: _ensure_name(server, name))
    versions = server.call("list model versions", lambda: _versions_of_run(server, name, run_id))
    known = next((version for version in versions if _is_of(version, weights)), None)
    if known is None and (fingerprint := (extra_tags or {}).get(FINGERPRINT_TAG)):
        known = server.call("list model versions", lambda: _version_of_training(server, name, weights, fingerprint))
    if known is None:
        # never over the files of a version that exists
        folder = "model" if not versions else f"{FORMAT}-{weights[:12]}"
        tags = {WEIGHTS_TAG: weights, FORMAT_TAG: FORMAT, "capillary.fold": str(fold), **(extra_tags or {})}
        with settled(server):
            source = _upload(package, server, run_id, folder)
            known = server.call("create a model version", lambda: _find_or_create(server, name, run_id, source, tags))
    version = str(known.version)
    if with_alias:
        _set_alias(server, name, f"fold-{fold}", version)
    return name, version


def _is_of(version: ModelVersion, weights: str) -> bool:
    """Whether `version` has these weights in today's form; older ones are pickles."""
    return version.tags.get(WEIGHTS_TAG) == weights and version.tags.get(FORMAT_TAG) == FORMAT


def _ensure_name(server: Server, name: str) -> None:
    try:
        server.client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _versions_of_run(server: Server, name: str, run_id: str) -> list[ModelVersion]:
    found = server.client.search_model_versions(f"name = '{name}' and run_id = '{run_id}'")
    return [version for version in found if version.name == name and version.run_id == run_id]


def _version_of_training(server: Server, name: str, weights: str, fingerprint: str) -> ModelVersion | None:
    """The version that an earlier training with equal inputs registered, if its weights are equal, too."""
    every = server.client.search_model_versions(f"name = '{name}'")
    return next((one for one in every if _is_of(one, weights) and one.tags.get(FINGERPRINT_TAG) == fingerprint), None)


def _find_or_create(server: Server, name: str, run_id: str, source: str, tags: dict[str, str]) -> ModelVersion:
    # looked for at each attempt: the answer to the attempt before may have been lost
    for version in _versions_of_run(server, name, run_id):
        if _is_of(version, tags[WEIGHTS_TAG]):
            return version
    return server.client.create_model_version(name, source=source, run_id=run_id, tags=tags)


def _upload(package: Package, server: Server, run_id: str, folder: str) -> str:
    """Upload `package` as an MLflow model to `folder` of the run's artifacts; the URI of that folder."""
    with mlflow_folder(package) as local, patient_transfers():
        server.call("take an upload", lambda: server.client.log_artifacts(run_id, str(local), folder))
    run = server.call("find a run", lambda: server.client.get_run(run_id))
    return f"{run.info.artifact_uri}/{folder}"


def _set_alias(server: Server, name: str, alias: str, version: str) -> None:
    client = server.client
    try:
        server.call("set an alias", lambda: client.set_registered_model_alias(name, alias, version))
    except RefusedError as error:
        server.call("tag a version", lambda: client.set_model_version_tag(name, version, ALIAS_TAG, alias))
        say(f"{error.what}: version {version} of {name} carries the tag {ALIAS_TAG} = {alias} instead")
