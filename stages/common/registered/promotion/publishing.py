"""From a folder that evaluate leaves to a version of the registry: registered once, linked, and compared.

Everything here may be repeated at any time: what is there already is found, and stays.
"""

import contextlib
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mlflow.entities import Metric, RunTag
from mlflow.entities.model_registry import ModelVersion

from stages.common.errors import CapillaryError, UsageError
from stages.common.program.messages import get_logger
from stages.common.registered import tags
from stages.common.registered.promotion.champion import Standing, stand
from stages.common.registered.promotion.history import Entry
from stages.common.registered.promotion.server_record import ServerRecord
from stages.common.registered.refusals import explained
from stages.common.registered.trainings.fold_metrics import fold_means
from stages.common.registered.trainings.held_out import held_out_mean
from stages.common.registered.trainings.pages import description, model_description, short_tags
from stages.common.registered.trainings.training import (
    FILE,
    MOST_BYTES,
    TABLES,
    Cell,
    Training,
    training_from,
    training_json,
)
from stages.common.registered.versions import ensure_name, list_versions, network_version
from stages.common.text import json_value
from stages.common.tracking import names
from stages.common.tracking.cards.card import card_from
from stages.common.tracking.cards.page import in_training, network_page
from stages.common.tracking.publishing import read_local_file
from stages.common.tracking.registry import CARD_TAG
from stages.common.tracking.server import RefusedError, Server, patient_transfers, settled

log = get_logger(__name__)

WHO = "evaluate"


@dataclass(frozen=True, kw_only=True)
class PublishedTraining:
    """Where a training is registered, and who is who there now. `entry` is what the history gained, if anything."""

    name: str
    version: str
    standing: Standing | None = None
    entry: Entry | None = None


def publish_training(server: Server, run_id: str, folder: Path) -> PublishedTraining:
    """Register the training in `folder` (training.json and evaluate's tables) as evaluated by the run `run_id`.

    Its networks must be in the registry. The best loss of a whole evaluation stands for champion. Raises DataError
    if a network is missing, ServiceError if the server does not take it.
    """
    training = training_from(read_local_file(folder, FILE, MOST_BYTES), str(folder))
    name = training.registered_model
    _refuse_name(name, training.loss)
    networks = [network_version(cell.loss, cell.weights_sha256, server) for cell in training.cells]
    placed = training.model_copy(update={"cells": tuple(map(_placed, training.cells, networks))})
    ensure_name(name, server)
    short = {
        **short_tags(placed, run_id, held_out=held_out_mean(folder, training)),
        **_commits(networks, run_id, server),
    }
    version = _registered(placed, server, run_id, folder, short)
    _link_runs(placed, networks, server, run_id)
    _name_on_pages(f"{name}/{version}", networks, server)
    found: tuple[Standing | None, Entry | None] = (None, None)
    if training.stands:
        found = stand(ServerRecord(name, server), version, WHO)
    _describe(placed, version, server, run_id, found[1])
    return PublishedTraining(name=name, version=version, standing=found[0], entry=found[1])


def _refuse_name(name: str, loss: str) -> None:
    """A registered model of another program is none of evaluate's."""
    if not name.startswith(names.START):
        raise UsageError(
            f"a training belongs to a model whose name begins with {names.START}",
            remedy="remove its folder from the outbox, then evaluate again",
            value=name,
        )
    if name == names.of_loss(loss):
        raise UsageError(
            f"{name} contains the networks of the loss {loss} and cannot contain trainings",
            remedy="give the experiment another name",
            value=name,
        )


def _placed(cell: Cell, network: ModelVersion) -> Cell:
    return cell.model_copy(update={"name": network.name, "version": str(network.version)})


def _commits(networks: Sequence[ModelVersion], run_id: str, server: Server) -> dict[str, str]:
    """Tags with the commits that the networks were trained at, which may be several of equal code, and evaluate's."""
    trained = ", ".join(sorted({one.tags[tags.COMMIT] for one in networks if tags.COMMIT in one.tags}))[:500]
    run = server.call("find a run", lambda: server.client.get_run(run_id))
    found = {tags.COMMIT: trained, tags.EVALUATION_COMMIT: run.data.tags.get(tags.COMMIT, "")}
    return {name: text for name, text in found.items() if text}


def _registered(training: Training, server: Server, run_id: str, folder: Path, short: dict[str, str]) -> str:
    """The version's number: of the one that exists, or of a new one with the tags `short`."""
    name, digest = training.registered_model, training.digest

    def find() -> str | None:
        every = list_versions(name, server)
        return next((str(one.version) for one in every if one.tags.get(tags.EVALUATION) == digest), None)

    def find_or_create() -> str:
        # looked for at each attempt: the answer to the attempt before may have been lost
        if (known := find()) is not None:
            return known
        made = server.client.create_model_version(name, source=source, run_id=run_id, tags=short)
        return str(made.version)

    if (known := find()) is not None:
        return known
    source = _upload(training, server, run_id, folder)
    try:
        return server.call("create a model version", find_or_create)
    except RefusedError as error:
        raise explained(error, server) from error


def _upload(training: Training, server: Server, run_id: str, folder: Path) -> str:
    """Upload `training` and the tables of `folder` to the run, and no other file; the URI of the folder there."""
    place = f"training/{training.loss}"
    with tempfile.TemporaryDirectory() as temporary:
        local = Path(temporary)
        for file in TABLES:
            if (folder / file).exists():
                (local / file).write_bytes(read_local_file(folder, file, MOST_BYTES))
        (local / FILE).write_bytes(training_json(training))
        with settled(server), patient_transfers():
            server.call("take an upload", lambda: server.client.log_artifacts(run_id, str(local), place))
    run = server.call("find a run", lambda: server.client.get_run(run_id))
    return f"{run.info.artifact_uri}/{place}"


def _link_runs(training: Training, networks: list[ModelVersion], server: Server, run_id: str) -> None:
    """Log each fold's means on its network's run; both runs name each other."""
    run = server.call("find a run", lambda: server.client.get_run(run_id))
    when_ms = run.info.start_time  # always the same: a point that is logged again is the same point
    for cell, network in zip(training.cells, networks, strict=True):
        points = [Metric(f"evaluation.{name}", value, when_ms, 0) for name, value in fold_means(training, cell).items()]
        links = [RunTag(tags.EVALUATION_RUN, run_id)]
        batch = partial(server.client.log_batch, str(network.run_id), metrics=points, tags=links)
        try:
            server.call("log metrics", batch)
        except RefusedError as error:
            log.warning(
                f"the run of {network.name}/{network.version} does not accept the metrics of its fold ({error.value})"
            )
    runs = ", ".join(dict.fromkeys(str(network.run_id) for network in networks))
    key = f"{tags.TRAIN_RUNS}.{training.loss}"
    server.call("tag a run", lambda: server.client.set_tag(run_id, key, runs[:5000]))


def _name_on_pages(label: str, networks: Sequence[ModelVersion], server: Server) -> None:
    """Name the training on the pages of its networks."""
    for network in networks:
        name, number, page = network.name, str(network.version), network.description or _page(network)
        if (text := in_training(page, label)) == network.description:
            continue
        describe = partial(server.client.update_model_version, name, number, text)
        try:
            server.call("describe a version", describe)
        except RefusedError as error:
            log.warning(f"the page of {name}/{number} does not name the training {label}: {error.what} ({error.value})")


def _page(network: ModelVersion) -> str:
    """The page of a version that was registered before networks had one; empty where its card cannot be read."""
    with contextlib.suppress(CapillaryError, ValueError):
        card = card_from(json_value(network.tags.get(CARD_TAG, "")), network.name, "train it again")
        return network_page(card, network.name, str(network.version))
    return ""


def _describe(training: Training, version: str, server: Server, run_id: str, entry: Entry | None) -> None:
    client, name = server.client, training.registered_model
    text = description(training, version, run_id, "" if entry is None else entry.why)
    try:
        if entry is not None or not _has_description(name, version, server):
            server.call("describe a version", lambda: client.update_model_version(name, version, text))
        model = server.call("find a model", lambda: client.get_registered_model(name))
        if not model.description:
            about = model_description(name)
            server.call("describe a model", lambda: client.update_registered_model(name, about))
    except RefusedError as error:
        raise explained(error, server) from error


def _has_description(name: str, version: str, server: Server) -> bool:
    return bool(server.call("find a model version", lambda: server.client.get_model_version(name, version)).description)
