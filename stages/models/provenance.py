"""What the registry knows of how a model came to be: its cells, and the provenance that their runs recorded."""

import contextlib
import math
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion
from pydantic import ValidationError

from stages.common.errors import CapillaryError, DataError, UsageError
from stages.common.program.messages import get_logger
from stages.common.provenance.record import FOLDER, MOST_BYTES, RECORD
from stages.common.registered import tags
from stages.common.registered.references import named_version
from stages.common.registered.versions import list_versions, nothing
from stages.common.requests.reproduction import EVALUATION, MOST_CELLS, Fetched, FetchedCell, write_fetched
from stages.common.text import json_value
from stages.common.tracking.names import START
from stages.common.tracking.registry import CARD_TAG, FOLD_TAG, WEIGHTS_TAG
from stages.common.tracking.server import RefusedError, Server
from stages.models.run_files import fetch_artifact

log = get_logger(__name__)

TRAINING_FILE = "training.json"
TRAINING_BYTES = 64 << 20
_MOST_MEAN = 1 << 53  # of the ints that a float holds
_REFERENCE = re.compile(r"(?P<name>[A-Za-z0-9_.-]+)(@(?P<alias>[^@/]+)|/(?P<version>[0-9]{1,18}))?")


def fetch_provenance(reference: str, folder: Path, server: Server) -> None:
    """Leave in `folder` what the registry says of `reference` and of each of its cells.

    Raises DataError for a version without provenance, or of another form.
    """
    folder.mkdir(parents=True)
    version = find_one(reference, server)
    fetched, cells = _described(version, server)
    for number, cell in enumerate(cells):
        _fetch_files(cell, folder / str(number), server)
    if fetched.kind == "training":
        _fetch_evaluation(version, folder / EVALUATION, server)
    write_fetched(folder, fetched)
    log.info(f"{fetched.label}: {len(cells)} {'cell' if len(cells) == 1 else 'cells'}")


def find_one(reference: str, server: Server) -> ModelVersion:
    """The one version that `reference` names, a training as itself; of a bare name the newest.

    Raises CapillaryError (usage) for another form, DataError if the registry has none, ServiceError if it refuses the
    login.
    """
    form = _REFERENCE.fullmatch(reference)
    if form is None:
        raise UsageError(
            "this is not the name of a model",
            remedy="write it like capillary-dice_ce/3 or capillary-default@champion",
            value=reference,
        )
    if form["alias"] or form["version"]:
        return named_version(reference, server)
    versions = list_versions(reference, server)
    if not versions:
        raise nothing(reference, server)
    return versions[-1]


def _described(version: ModelVersion, server: Server) -> tuple[Fetched, list[ModelVersion]]:
    label = f"{version.name}/{version.version}"
    if version.tags.get(tags.KIND) != tags.TRAINING_KIND:
        return Fetched(label=label, kind="network", cells=(_cell(version),)), [version]
    training = _training(version, label, server)
    networks = [_network(cell, label, server) for cell in training["cells"]]
    cells = tuple(_cell(network) for network in networks)
    return Fetched(label=label, kind="training", cells=cells, metrics=dict(_means(training))), networks


def _training(version: ModelVersion, label: str, server: Server) -> dict[str, Any]:
    """The content of training.json, of which only the cells and the means are used."""
    source = server.client.get_model_version_download_uri(version.name, str(version.version))
    content = fetch_artifact(source, TRAINING_FILE, TRAINING_BYTES, server)
    try:
        tree = json_value(content or b"")
    except ValueError as error:
        raise _not_a_training(label, str(error)) from error
    cells = tree.get("cells") if isinstance(tree, dict) else None
    if not isinstance(cells, list) or not 1 <= len(cells) <= MOST_CELLS:
        raise _not_a_training(label, "it names no cells")
    return dict(tree)


def _network(cell: object, label: str, server: Server) -> ModelVersion:
    """The version of a cell, which must hold the weights that the training names."""
    told = cell if isinstance(cell, dict) else {}
    name, number, weights = (told.get(key) for key in ("name", "version", "weights_sha256"))
    if not isinstance(name, str) or not name.startswith(START) or not str(number).isdecimal():
        raise _not_a_training(label, f"a cell names no version: {str(cell)[:200]}")
    network = server.call("find a model version", lambda: server.client.get_model_version(name, str(number)))
    if network.tags.get(WEIGHTS_TAG) != weights:
        raise _not_a_training(label, f"{name}/{number} has other weights than it names")
    return network


def _means(training: dict[str, Any]) -> Iterator[tuple[str, float]]:
    summary = training.get("summary")
    for name, found in summary.items() if isinstance(summary, dict) else ():
        mean = found.get("mean") if isinstance(found, dict) else None
        if type(mean) is float and math.isfinite(mean):  # JSON may hold an int that no float can, and true
            yield str(name), mean
        elif type(mean) is int and abs(mean) <= _MOST_MEAN:
            yield str(name), float(mean)


def _cell(version: ModelVersion) -> FetchedCell:
    label = f"{version.name}/{version.version}"
    card = _card(version)
    try:
        return FetchedCell(
            loss=version.name.removeprefix(START),
            fold=int(version.tags.get(FOLD_TAG, "")),
            name=version.name,
            version=str(version.version),
            weights_sha256=version.tags.get(WEIGHTS_TAG, ""),
            validation_dsc=card.get("validation_dsc"),
        )
    except ValueError as error:  # pydantic's is one, too
        detail = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise DataError(
            f"{label} is not a network that capillary registered",
            remedy="name a version of capillary-<loss>, or a training",
            value=detail,
        ) from error


def _card(version: ModelVersion) -> dict[str, Any]:
    with contextlib.suppress(ValueError):
        card = json_value(version.tags.get(CARD_TAG, ""))
        return card if isinstance(card, dict) else {}
    return {}


def _fetch_files(version: ModelVersion, folder: Path, server: Server) -> None:
    folder.mkdir()
    label = f"{version.name}/{version.version}"
    try:
        run = server.call("find a run", lambda: server.client.get_run(version.run_id or ""))
    except RefusedError as error:
        raise _without(label, f"its run {version.run_id} is gone") from error
    _fetch_artifacts(run, folder, server)
    if not (folder / RECORD).is_file():
        raise _without(label, f"its run {version.run_id} has no {FOLDER}/{RECORD}")


def _fetch_evaluation(version: ModelVersion, folder: Path, server: Server) -> None:
    """Leave in `folder` what evaluate recorded; nothing of a version that was registered before evaluate did so."""
    try:
        run = server.call("find a run", lambda: server.client.get_run(version.run_id or ""))
    except RefusedError as error:
        log.warning(f"the run {version.run_id} of the evaluation is not there: {error.what}")
        return
    folder.mkdir()
    _fetch_artifacts(run, folder, server)
    if not (folder / RECORD).is_file():
        shutil.rmtree(folder)


def _fetch_artifacts(run: Run, folder: Path, server: Server) -> None:
    for name, most_bytes in MOST_BYTES.items():
        content = fetch_artifact(run.info.artifact_uri, f"{FOLDER}/{name}", most_bytes, server)
        if content is not None:
            (folder / name).write_bytes(content)


def _without(label: str, why: str) -> DataError:
    return DataError(
        f"there is no record of how {label} was trained",
        remedy="versions registered before provenance was recorded cannot be reproduced by this command; "
        "docs/reproduce.md "
        "says what to try",
        value=why,
    )


def _not_a_training(label: str, why: str) -> CapillaryError:
    return DataError(
        f"{TRAINING_FILE} of {label} does not have the form that evaluate registers",
        remedy="name one of its networks, such as capillary-dice_ce/3, or evaluate again",
        value=why,
    )
