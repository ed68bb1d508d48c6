"""The model registry: a fold's network becomes a version of the model capillary-<loss>; loading.py brings it back.

One road for every server, MLflow 2.7 and 3.x alike: save_model → log_artifacts → create_model_version. (A 3.x
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
from stages.common.cell_name import ENTRY, SEED_ENTRY
from stages.common.errors import DamagedError, DataError
from stages.common.imaging.recipe import Recipe, recipe_from
from stages.common.progress import say
from stages.common.text import json_value
from stages.common.tracking.card_fields import wrong_field
from stages.common.tracking.model_files import ModelFile, Package, mlflow_folder
from stages.common.tracking.server import RefusedError, Server, settled, uploads
from stages.common.tracking.training_domain import TrainingDomain, domain_from

MODELS = "capillary-"  # and the loss: the registered model
# of earlier versions' cards: what a server had assigned
ASSIGNED = ("run_id", "model_name", "model_version")
WEIGHTS_TAG = "capillary.weights_sha256"
ALIAS_TAG = "capillary.alias"
# on a version: the seed from which its network was trained
SEED_TAG = "capillary.seed"
# on a version: its card, for who has no models/ at hand (stages/predict/models)
CARD_TAG = "capillary.card"
# on a version: the form of its files; a version without the tag is a pickle of an earlier version of capillary
FORMAT_TAG = "capillary.format"
FORMAT = "safetensors-1"
NETWORK = "model"  # the folder of a network among the files of its run
# on a version: the fingerprint of its training
FINGERPRINT_TAG = "capillary.fingerprint"
# on a version that `capillary models convert` made: the number of the old one
CONVERTED_TAG = "capillary.converted_from"
# on a version: the card's `setup`
SETUP_TAG = "capillary.setup"
_AUTOCAST = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """What train leaves in models/<loss>/fold_<k>.json: which network it is, and how to know the right one.

    Nothing on it is a server's to give: equal trainings leave equal cards, published or not. Where the network is
    kept, stages/common/registered/finding.py finds out.
    """

    loss: str
    fold: int
    weights_sha256: str
    patch_voxels: tuple[int, int, int]
    epochs: int
    validation_dsc: float
    fingerprint: str
    precision: str
    recipe: Recipe
    files: Mapping[str, ModelFile]
    domain: TrainingDomain | None = None  # None on cards of earlier versions
    seed: int | None = None  # None on cards of earlier versions
    # hash of loss, data, code and params without the seed, which all cells of a training have in common
    setup: str | None = None  # None on cards of earlier versions, and of stages that were started by hand

    @property
    def model_name(self) -> str:
        """The registered model of which the network is, or will be, a version."""
        return f"{MODELS}{self.loss}"


def autocast_of(card: ModelCard) -> torch.dtype | None:
    """The type in which the card's network computes, None for plain float32. DataError for one that is unknown."""
    if card.precision not in _AUTOCAST:
        raise DataError(
            f"the model card of loss {card.loss}, fold {card.fold} names an unknown precision",
            remedy=f"train it again; known: {', '.join(_AUTOCAST)}",
            value=card.precision,
        )
    return _AUTOCAST[card.precision]


def address_words(card: ModelCard) -> str:
    """The command that trains the card's network again; a card does not say whether its seed is another one."""
    first = f"`dvc repro -f -s {ENTRY}@{card.loss}-{card.fold}`"
    if card.seed is None:
        return first
    return f"{first} (if seed {card.seed} is one of training.seeds: {SEED_ENTRY}@{card.loss}-{card.fold}-{card.seed})"


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
        data = json_value(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(
            "this cell has no model card: it was not trained", remedy=f"run `dvc repro {_cell(path)}`", file=path
        ) from error
    except ValueError as error:
        raise DamagedError(f"the model card is not JSON: {error}", remedy=_retrain(path), file=path) from error
    return card_from(data, path, _retrain(path))


def without_assigned(data: object) -> object:
    """A card's `data` without what earlier versions of capillary noted on it: the run, name and version."""
    return {key: value for key, value in data.items() if key not in ASSIGNED} if isinstance(data, dict) else data


def card_from(data: object, origin: object, remedy: str) -> ModelCard:
    """`data`, as JSON has it, as a card. Raises DataError naming `origin` when it is of another version or damaged."""
    names = {field.name for field in fields(ModelCard)}
    if isinstance(data, dict) and "files" in data and set(ASSIGNED) & data.keys():
        raise DataError(
            "the model card was written by an older capillary, which recorded where a server had put the network",
            remedy=f"run `dvc repro`, or {remedy}",
            file=origin,
            value=", ".join(name for name in ASSIGNED if name in data),
        )
    if (
        isinstance(data, dict)
        and names - data.keys() - {"domain", "seed", "setup"} == {"files"}
        and "model_name" in data
    ):
        raise _pickled(data, origin, remedy)
    if not isinstance(data, dict):
        raise DamagedError(
            "the model card is not a JSON object", remedy=remedy, file=origin, value=f"a {type(data).__name__}"
        )
    data = {"domain": None, "seed": None, "setup": None, **data}
    if differing := [*(f"it lacks {name}" for name in sorted(names - data.keys()))] + [
        f"it has {name}" for name in sorted(data.keys() - names)
    ]:
        raise DataError(
            "the model card was written by another version of capillary",
            remedy=remedy,
            file=origin,
            value=", ".join(differing),
        )
    if (wrong := wrong_field(data)) is not None:
        raise DamagedError(
            f"the model card is damaged: `{wrong}` is not valid",
            remedy=remedy,
            file=origin,
            value=repr(data[wrong])[:200],
        )
    patch, recipe = tuple(data["patch_voxels"]), recipe_from(data["recipe"], origin)
    files = {name: ModelFile(**file) for name, file in data["files"].items()}
    domain = domain_from(data["domain"], origin, remedy)
    return ModelCard(**{**data, "patch_voxels": patch, "recipe": recipe, "files": files, "domain": domain})


def _pickled(data: Mapping[str, Any], origin: object, remedy: str) -> DataError:
    named = f"{data['model_name']}/{data['model_version']}" if data.get("model_version") else "NAME/VERSION"
    return DataError(
        "the model was registered by an older capillary as a pickle, which is no longer read",
        remedy=f"convert it (`capillary models convert {named}`), or {remedy}",
        file=origin,
        value="the model card lacks `files`",
    )


def _cell(card_path: Path) -> str:
    """The address of the cell whose card is in `card_path`."""
    folder, fold = card_path.parent, card_path.stem.removeprefix("fold_")
    if folder.name.startswith("seed_"):
        return f"{SEED_ENTRY}@{folder.parent.name}-{fold}-{folder.name.removeprefix('seed_')}"
    return f"{ENTRY}@{folder.name}-{fold}"


def _retrain(card_path: Path) -> str:
    return f"run `dvc checkout --force {card_path}` or, if it never was right, `dvc repro -f -s {_cell(card_path)}`"


def register_model(
    package: Package,
    *,
    server: Server,
    run_id: str,
    loss: str,
    fold: int,
    fingerprint: str,
    extra_tags: Mapping[str, str] | None = None,
) -> tuple[str, str]:
    """Upload `package` to its run and register it as a version of capillary-<loss>; (name, version).

    May be repeated: one fingerprint and one set of weights make one version, because a version is created after its
    files are complete and is looked for first. Raises ServiceError when the server does not take it.
    """
    name = f"{MODELS}{loss}"
    tags = {
        **(extra_tags or {}),
        WEIGHTS_TAG: package.weights_sha256,
        FORMAT_TAG: FORMAT,
        FINGERPRINT_TAG: fingerprint,
        "capillary.fold": str(fold),
    }
    server.call("create a registered model", lambda: _ensure_name(server, name))
    versions = server.call("list model versions", lambda: versions_of(server, name))
    known = next((version for version in versions if _is_same(version, tags)), None)
    if known is None:
        # never over the files of a version that exists
        is_first = not any(version.run_id == run_id for version in versions)
        with settled(server):
            source = upload_model(package, server, run_id, NETWORK if is_first else own_folder(package.weights_sha256))
            known = server.call("create a model version", lambda: _find_or_create(server, name, run_id, source, tags))
    return name, str(known.version)


def versions_of(server: Server, name: str) -> list[ModelVersion]:
    """Every version of the model `name`, none if there is no such model; they never carry aliases (mlflow#16734)."""
    found: list[ModelVersion] = []
    token = None
    while True:
        page = server.client.search_model_versions(f"name = '{name}'", page_token=token)
        found += [version for version in page if version.name == name]
        if not (token := page.token):
            return found


def own_folder(weights: str) -> str:
    """The folder of a network among the files of a run that has another one."""
    return f"{FORMAT}-{weights[:12]}"


def _is_same(version: ModelVersion, tags: Mapping[str, str]) -> bool:
    """Whether `version` is of this training and has these weights in today's form; older ones are pickles."""
    return all(version.tags.get(tag) == tags[tag] for tag in (WEIGHTS_TAG, FORMAT_TAG, FINGERPRINT_TAG))


def _ensure_name(server: Server, name: str) -> None:
    try:
        server.client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _find_or_create(server: Server, name: str, run_id: str, source: str, tags: dict[str, str]) -> ModelVersion:
    # looked for at each attempt: the answer to the attempt before may have been lost
    for version in versions_of(server, name):
        if _is_same(version, tags):
            return version
    return server.client.create_model_version(name, source=source, run_id=run_id, tags=tags)


def upload_model(package: Package, server: Server, run_id: str, folder: str) -> str:
    """Upload `package` as an MLflow model to `folder` of the run's artifacts; the URI of that folder."""
    with mlflow_folder(package) as local, uploads():
        server.call("take an upload", lambda: server.client.log_artifacts(run_id, str(local), folder))
    run = server.call("find a run", lambda: server.client.get_run(run_id))
    return f"{run.info.artifact_uri}/{folder}"


def set_alias(server: Server, name: str, alias: str, version: str) -> None:
    """Let `alias` name `version` of the model; a tag of the version does where the server refuses aliases."""
    client = server.client
    try:
        server.call("set an alias", lambda: client.set_registered_model_alias(name, alias, version))
    except RefusedError as error:
        server.call("tag a version", lambda: client.set_model_version_tag(name, version, ALIAS_TAG, alias))
        say(f"{error.what}: version {version} of {name} carries the tag {ALIAS_TAG} = {alias} instead")
