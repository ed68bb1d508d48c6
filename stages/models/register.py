"""Converted models into the registry, each as a new version next to the old one."""

import json
from dataclasses import asdict
from pathlib import Path

from stages.common.errors import DataError
from stages.common.networks.description import DESCRIPTION, DESCRIPTION_BYTES, WEIGHTS, read_description
from stages.common.networks.loading import load_network
from stages.common.packing import pack
from stages.common.program.messages import get_logger
from stages.common.requests.conversion import OldVersion, read_versions
from stages.common.tracking.cards.card import ModelCard, card_from, card_json, without_assigned
from stages.common.tracking.model_files import Package
from stages.common.tracking.registry import CARD_TAG, CONVERTED_TAG, register_model, set_alias
from stages.common.tracking.server import Server

log = get_logger(__name__)


def register_all(converted: Path, cards: Path, server: Server) -> None:
    """Register every version in `converted`; each leaves its old number and its new card in `cards`."""
    cards.mkdir(parents=True, exist_ok=True)
    for folder, old in read_versions(converted):
        card, version = _register(_package(folder, old), old, server)
        made = {"name": old.name, "converted_from": old.version, "version": version, "card": asdict(card)}
        (cards / f"{folder.name}.json").write_text(json.dumps(made, indent=2))
        log.info(f"registered {old.label} again as {old.name}/{version}")


def _package(folder: Path, old: OldVersion) -> Package:
    """What is in `folder`, read again: the stage that unpickled is not trusted."""
    with (folder / DESCRIPTION).open("rb") as stream:
        description = read_description(stream.read(DESCRIPTION_BYTES + 1), old.label)
    package = pack(load_network(description, (folder / WEIGHTS).read_bytes(), old.label), description)
    if package.weights_sha256 != old.weights_sha256:
        raise DataError(
            f"the conversion of {old.label} gave other weights than were registered",
            remedy="train it again",
            value=f"{package.weights_sha256} instead of {old.weights_sha256}",
        )
    return package


def _register(package: Package, old: OldVersion, server: Server) -> tuple[ModelCard, str]:
    """(the card, the number of the new version)."""
    files = {name: asdict(file) for name, file in package.files.items()}
    data = without_assigned({**old.card, "files": files, "weights_sha256": old.weights_sha256})
    card = card_from(data, old.label, "train it again")
    if old.name != card.model_name:
        raise DataError(
            f"the card of {old.label} belongs to another loss", remedy="train it again", value=card.loss, file=old.label
        )
    name, version = register_model(
        package,
        server=server,
        run_id=old.run_id,
        loss=card.loss,
        fold=card.fold,
        fingerprint=card.fingerprint,
        extra_tags={CARD_TAG: card_json(card), CONVERTED_TAG: old.version},
    )
    if old.has_alias:
        set_alias(server, name, f"fold-{card.fold}", version)
    return card, version
