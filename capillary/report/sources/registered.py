"""The project's registered trainings, as the server of its models knows them at this moment."""

import datetime
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from capillary.models.known import training_names
from capillary.report.model import Card
from capillary.report.registered import Registered, RegisteredTraining
from capillary.report.sources.stored import StoredVersion
from capillary.report.sources.tracking import Store, open_store
from capillary.settings import Settings
from stages.common.errors import CapillaryError
from stages.common.metrics import METRICS
from stages.common.registered import tags
from stages.common.registered.names import CANDIDATE, CHAMPION, PREVIOUS
from stages.common.registered.pointers import resolve
from stages.common.registered.promotion.history import EVALUATED, entries_of
from stages.common.registered.trainings.training import training_id
from stages.common.runtime import BY_HAND

MOST_SHOWN = 20  # of one registered model, the newest
_ALIASES = (CHAMPION, CANDIDATE, PREVIOUS)


def read_trainings(cards: Sequence[Card], settings: Settings, root: Path) -> Registered:
    """The trainings under every name that this project can register them by, those of each name from the newest on."""
    own = own_trainings(cards)
    try:
        store = open_store(settings, root)
        found = [_of_model(name, store, own) for name in training_names(root)]
    except CapillaryError as error:
        why = "" if error.value is None else f" ({error.value})"
        return Registered(missing=f"Left out, because {error.what}{why}. To have it: {error.remedy}.")
    shown = tuple(one for trainings, _ in found for one in trainings)
    if not shown:
        return Registered(missing="No training is registered yet: dvc repro registers what it evaluates.")
    return Registered(trainings=shown, left_out=sum(count for _, count in found))


def own_trainings(cards: Sequence[Card]) -> frozenset[str]:
    """The ids of the trainings whose networks are all in the workspace, one for each loss."""
    fingerprints: dict[str, list[str]] = defaultdict(list)
    for card in cards:
        fingerprints[card.loss].append(card.fingerprint)
    return frozenset(training_id(each) for each in fingerprints.values() if BY_HAND not in each)


def _of_model(name: str, store: Store, own: frozenset[str]) -> tuple[list[RegisteredTraining], int]:
    """(the trainings to show, how many there are besides)."""
    versions = store.versions(name)
    if not versions:
        return [], 0
    leads = {alias: one.version for alias, one in resolve(versions, store.aliases(name)).items()}
    every = sorted(filter(_is_training, versions), key=lambda one: one.version, reverse=True)
    kept = {one.version for one in every[:MOST_SHOWN]} | {leads[alias] for alias in _ALIASES if alias in leads}
    shown = [one for one in every if one.version in kept or one.tags.get(tags.TRAINING) in own]
    return [_training(one, leads, own) for one in shown], len(every) - len(shown)


def _is_training(version: StoredVersion) -> bool:
    return version.tags.get(tags.KIND) == tags.TRAINING_KIND


def _training(version: StoredVersion, leads: Mapping[str, int], own: frozenset[str]) -> RegisteredTraining:
    told = version.tags
    metric = told.get("capillary.metric", "")
    is_this = told.get(tags.TRAINING) in own
    return RegisteredTraining(
        model=version.name,
        version=version.version,
        state=_state(version, leads),
        loss=told.get("capillary.loss", ""),
        networks=told.get("capillary.cells", ""),
        metric=METRICS[metric].title if metric in METRICS else metric,
        value=told.get(f"capillary.{metric}", ""),
        volumes=told.get(tags.VOLUMES, ""),
        held_out=told.get(tags.HELD_OUT, ""),
        commit=told.get(tags.COMMIT, ""),
        made=_moment(version.made_ms),
        is_this=is_this,
        against_champion=_against_champion(version, leads.get(CHAMPION)) if is_this else "",
    )


def _state(version: StoredVersion, leads: Mapping[str, int]) -> str:
    held = [
        alias for alias in (*_ALIASES, *sorted(leads.keys() - set(_ALIASES))) if leads.get(alias) == version.version
    ]
    return ", ".join(held) or ("rehearsal" if _is_rehearsal(version) else "")


def _is_rehearsal(version: StoredVersion) -> bool:
    return version.tags.get(tags.REHEARSAL) == "true"


def _against_champion(version: StoredVersion, champion: int | None) -> str:
    """How the training of this workspace compares with the champion, as evaluate noted it in the model's history."""
    if _is_rehearsal(version):
        return "It is a rehearsal, which is compared with no champion."
    ordered = sorted(entries_of(version), key=lambda one: one.key)
    entry = next((one for one in reversed(ordered) if one.kind == EVALUATED), None)
    if entry is None:
        return "Another loss of its evaluation was better, so it was not compared with the champion."
    sentence = "It is the champion" if champion == version.version else f"The champion is version {champion}"
    if entry.former is None:
        return f"{sentence}. When it was evaluated, there was none: {entry.why}."
    against = "against the champion of that time, " if str(champion) != entry.former else "against it, "
    return f"{sentence}. When it was evaluated, {against}version {entry.former}: {entry.why}."


def _moment(made_ms: int | None) -> datetime.datetime | None:
    """None also for a time that a server made up."""
    try:
        return None if made_ms is None else datetime.datetime.fromtimestamp(made_ms / 1000).astimezone()
    except (OverflowError, OSError, ValueError):
        return None
