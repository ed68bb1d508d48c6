"""Converted models into the registry, each as a new version next to the old one."""

import json
from dataclasses import asdict, replace
from pathlib import Path

from stages.common.conversion import OldVersion, read_versions
from stages.common.errors import DataError
from stages.common.networks.description import DESCRIPTION, DESCRIPTION_BYTES, read_description
from stages.common.networks.loading import load_network
from stages.common.networks.weights import WEIGHTS
from stages.common.progress import say
from stages.common.tracking.model_files import Package, pack
from stages.common.tracking.registry import CARD_TAG, CONVERTED_TAG, ModelCard, card_from, card_json, register_model
from stages.common.tracking.server import Server


def register_all(converted: Path, cards: Path, server: Server) -> None:
    """Register every version in `converted`; each leaves its old number and its new card in `cards`."""
    cards.mkdir(parents=True, exist_ok=True)
    for folder, old in read_versions(converted):
        card = _register(_package(folder, old), old, server)
        text = json.dumps({"converted_from": old.version, "card": asdict(card)}, indent=2)
        (cards / f"{folder.name}.json").write_text(text)
        say(f"registered {old.label} again as {card.model_name}/{card.model_version}")


def _package(folder: Path, old: OldVersion) -> Package:
    """What lies in `folder`, read anew: the stage that unpickled is not trusted."""
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


def _register(package: Package, old: OldVersion, server: Server) -> ModelCard:
    data = {**old.card, "model_name": old.name, "model_version": old.version}
    files = {name: asdict(file) for name, file in package.files.items()}
    card = card_from({**data, "files": files, "weights_sha256": old.weights_sha256}, old.label, "train it again")
    if old.name != f"capillary-{card.loss}":
        raise DataError(
            f"the card of {old.label} is of another loss", remedy="train it again", value=card.loss, file=old.label
        )
    tags = {CARD_TAG: card_json(replace(card, model_name="", model_version="")), CONVERTED_TAG: old.version}
    name, version = register_model(
        package,
        server=server,
        run_id=old.run_id,
        loss=card.loss,
        fold=card.fold,
        extra_tags=tags,
        with_alias=old.has_alias,
    )
    return replace(card, model_name=name, model_version=version)
