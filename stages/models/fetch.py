"""Pickled versions from the registry, as files that nobody has opened yet."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mlflow.entities.model_registry import ModelVersion

from stages.common.errors import DataError
from stages.common.program.messages import get_logger
from stages.common.registered.aliases import aliases_of
from stages.common.registered.files import fetch_file
from stages.common.registered.references import find_versions
from stages.common.registered.trainings.reading import is_training
from stages.common.requests.conversion import PICKLE, OldVersion, write_version
from stages.common.text import json_value
from stages.common.tracking.names import START
from stages.common.tracking.registry import CARD_TAG, CONVERTED_TAG, FORMAT_TAG, WEIGHTS_TAG
from stages.common.tracking.server import Server

log = get_logger(__name__)

PICKLED = "data/model.pth"  # where earlier versions of capillary left the model
MOST_BYTES = 4 << 30


def fetch(references: Sequence[str], folder: Path, server: Server) -> None:
    """Fetch what `references` name, or every version of every model of capillary, if it is to be converted.

    A version that is not a pickle, or was converted before, is said and left alone. Raises DataError for one that was
    named and cannot be converted.
    """
    folder.mkdir(parents=True, exist_ok=True)
    named = [version for reference in references for version in find_versions(reference, server)]
    for number, version in enumerate(_pending(named or _all(server), server)):
        try:
            old = _described(version, server)
            content = fetch_file(PICKLED, old.name, old.version, server, MOST_BYTES)
        except DataError as error:
            if named:
                raise
            log.warning(f"not converted: {error.what}")
            continue
        write_version(folder / str(number), old)
        (folder / str(number) / PICKLE).write_bytes(content)
        log.info(f"fetched {old.label} ({len(content):,} bytes)")


def _all(server: Server) -> list[ModelVersion]:
    ask = f"name LIKE '{START}%'"
    found = server.call("list model versions", lambda: server.client.search_model_versions(ask))
    networks = (version for version in found if not is_training(version))
    return sorted(networks, key=lambda version: (version.name, int(version.version)))


def _pending(versions: Sequence[ModelVersion], server: Server) -> Iterator[ModelVersion]:
    for version in versions:
        if FORMAT_TAG in version.tags:
            log.info(f"{version.name}/{version.version} is not a pickle: nothing to convert")
        elif (newer := _successor(version, server)) is not None:
            log.info(f"{version.name}/{version.version} was converted before, as version {newer}")
        else:
            yield version


def _successor(version: ModelVersion, server: Server) -> str | None:
    ask = f"name = '{version.name}'"
    for other in server.call("list model versions", lambda: server.client.search_model_versions(ask)):
        if other.tags.get(CONVERTED_TAG) == str(version.version):
            return str(other.version)
    return None


def _described(version: ModelVersion, server: Server) -> OldVersion:
    label = f"{version.name}/{version.version}"
    if missing := [tag for tag in (CARD_TAG, WEIGHTS_TAG) if tag not in version.tags]:
        raise DataError(
            f"{label} cannot be converted: it lacks the tag {missing[0]}",
            remedy="train it again",
            value=label,
        )
    card = _card(version.tags[CARD_TAG], label)
    holder = aliases_of(version.name, server).get(f"fold-{card.get('fold')}")
    return OldVersion(
        name=version.name,
        version=str(version.version),
        run_id=version.run_id or "",
        weights_sha256=version.tags[WEIGHTS_TAG],
        has_alias=holder is not None and str(holder.version) == str(version.version),
        card=card,
    )


def _card(text: str, label: str) -> dict[str, Any]:
    try:
        card = json_value(text)
    except ValueError as error:
        raise DataError(f"the card of {label} is not JSON: {error}", remedy="train it again", value=label) from error
    if not isinstance(card, dict):
        raise DataError(f"the card of {label} is not a JSON object", remedy="train it again", value=label)
    return card
