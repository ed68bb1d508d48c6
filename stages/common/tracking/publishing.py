"""What is registered at a server, each kind by a function that may be repeated: a spool calls it until it succeeds.

A publisher gets a folder that holds all that it needs, and finds what a previous call of it made.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mlflow.entities import RunTag

from stages.common.errors import CapillaryError, DamagedError
from stages.common.networks.description import DESCRIPTION, FILES, read_description
from stages.common.program.messages import get_logger
from stages.common.text import json_value
from stages.common.tracking.cards.card import ModelCard, card_from, card_json
from stages.common.tracking.cards.page import network_page
from stages.common.tracking.model_files import Package, file_of
from stages.common.tracking.registry import CARD_TAG, NETWORK, WEIGHTS_TAG, register_model, upload_model
from stages.common.tracking.server import RefusedError, Server, redact, settled
from stages.common.tracking.spool.plain import read_plain

log = get_logger(__name__)

CARD = "card.json"
TAGS = "tags.json"  # more tags of the version
NETWORK_KIND = "network"
_CARD_BYTES = 1 << 20
_MOST_TAGS = 50
# aliases, the history of champions, what a version is: no stage hands these over
_RESERVED = ("capillary.alias", "capillary.promotion.", "capillary.kind", "mlflow.")


@dataclass(frozen=True, kw_only=True)
class Published:
    """What became of it. `version` is empty if the server has no registry."""

    fingerprint: str
    name: str
    version: str
    weights_sha256: str


def network_files(package: Package, card: ModelCard, tags: Mapping[str, str] | None = None) -> dict[str, bytes]:
    """The content of the folder that publish_network takes. `tags` are the version's, besides those of its card."""
    return {**package.contents, CARD: card_json(card).encode(), TAGS: json.dumps(dict(tags or {})).encode()}


def card_in(folder: Path) -> ModelCard | None:
    """The card of the network in `folder`, None if there is none that can be read."""
    try:
        return _card(folder)
    except CapillaryError:
        return None


def read_local_file(folder: Path, name: str, most_bytes: int) -> bytes:
    """The file `name` of `folder`. Raises DamagedError when it is not a plain file of at most `most_bytes`."""
    try:
        return read_plain(folder / name, most_bytes)
    except (OSError, ValueError) as error:
        raise _damaged(folder / name, str(error)) from error


def publish_network(server: Server, run_id: str, folder: Path) -> Published:
    """Register the network in `folder` as a version of capillary-<loss>; equal ones make one version.

    On a server without a registry it becomes files of its run. Raises ServiceError, and DamagedError for a folder that
    does not hold what its card says.
    """
    card = _card(folder)
    package = _package(folder, card)
    mark = partial(server.client.log_batch, run_id, tags=[RunTag(WEIGHTS_TAG, card.weights_sha256)])
    server.call("tag a run", mark)
    try:
        name, version = register_model(
            package,
            server=server,
            run_id=run_id,
            loss=card.loss,
            fold=card.fold,
            fingerprint=card.fingerprint,
            extra_tags={**_tags(folder), CARD_TAG: card_json(card)},
        )
        _describe(server, name, version, card)
        log.info(f"registered {name} version {version} (run {run_id})")
    except RefusedError as error:
        if not error.is_missing_endpoint:
            raise
        name, version = card.model_name, ""
        with settled(server):
            upload_model(package, server, run_id, NETWORK)
        log.warning(
            f"MLflow at {redact(server.uri)} has no model registry: the network of {name} is kept in the run {run_id}"
        )
    return Published(fingerprint=card.fingerprint, name=name, version=version, weights_sha256=card.weights_sha256)


def _describe(server: Server, name: str, version: str, card: ModelCard) -> None:
    """Give the version its page, unless it has one. A server that takes none has the network all the same."""
    client, page = server.client, network_page(card, name, version)
    try:
        known = server.call("find a model version", lambda: client.get_model_version(name, version))
        if not known.description:
            server.call("describe a version", lambda: client.update_model_version(name, version, page))
    except RefusedError as error:
        if not (error.is_about_content or error.is_missing_endpoint):
            raise
        log.warning(f"{name} version {version} has no description: {error.what} ({error.value})")


Publisher = Callable[[Server, str, Path], Published]  # (server, its run, folder)
PUBLISHERS: Mapping[str, Publisher] = {NETWORK_KIND: publish_network}


def _card(folder: Path) -> ModelCard:
    file = folder / CARD
    try:
        data = json_value(read_local_file(folder, CARD, _CARD_BYTES))
    except ValueError as error:
        raise _damaged(file, f"it is not JSON: {error}") from error
    return card_from(data, file, "remove it and train again")


def _tags(folder: Path) -> dict[str, str]:
    file = folder / TAGS
    try:
        data = json_value(read_local_file(folder, TAGS, _CARD_BYTES))
    except ValueError as error:
        raise _damaged(file, f"it is not JSON: {error}") from error
    if not isinstance(data, dict) or len(data) > _MOST_TAGS or not all(isinstance(one, str) for one in data.values()):
        raise _damaged(file, "it does not hold tags")
    if reserved := next((name for name in data if name.startswith(_RESERVED)), None):
        raise _damaged(file, f"it holds the tag {reserved[:100]}, which only the registry's own commands write")
    return data


def _package(folder: Path, card: ModelCard) -> Package:
    contents = {name: read_local_file(folder, name, card.files[name].bytes) for name in FILES}
    for name, content in contents.items():
        if file_of(content) != card.files[name]:
            raise _damaged(folder / name, "it is not the file that its card describes")
    description = read_description(contents[DESCRIPTION], str(folder / DESCRIPTION))
    return Package(contents=contents, description=description, weights_sha256=card.weights_sha256)


def _damaged(file: Path, why: str) -> DamagedError:
    return DamagedError(
        "a run that waits to be published is damaged",
        file=file,
        value=why,
        remedy="remove the folder of this run from the outbox, then train again: `dvc repro -f -s train@<loss>-<fold>`",
    )
