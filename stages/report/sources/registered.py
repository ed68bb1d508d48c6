"""The project's registered trainings, as the server of its models knows them at this moment."""

import datetime
from collections import defaultdict
from collections.abc import Mapping, Sequence

from mlflow.entities.model_registry import ModelVersion

from stages.common.errors import CapillaryError, DataError
from stages.common.metrics import METRICS
from stages.common.registered import tags
from stages.common.registered.aliases import read_model
from stages.common.registered.promotion.history import EVALUATED, entries_of
from stages.common.registered.trainings.reading import is_training
from stages.common.registered.trainings.training import training_id
from stages.common.runtime import BY_HAND, Runtime
from stages.common.tracking.names import CANDIDATE, CHAMPION, PREVIOUS
from stages.common.tracking.server import Server
from stages.report.model import TrainedCell
from stages.report.registered import Registered, RegisteredTraining
from stages.report.sources.tracking import asking, left_out

MOST_SHOWN = 20  # of one registered model, the newest
_ALIASES = (CHAMPION, CANDIDATE, PREVIOUS)


def read_trainings(
    trained: Sequence[TrainedCell], names: Sequence[str], runtime: Runtime, zone: datetime.tzinfo | None
) -> Registered:
    """The trainings under each of `names`, from the newest on; moments are in `zone`."""
    own = own_trainings(trained)
    try:
        with asking(runtime) as server:
            found = [_of_model(name, server, own, zone) for name in names]
    except CapillaryError as error:
        return Registered(missing=left_out(error))
    shown = tuple(one for trainings, _ in found for one in trainings)
    if not shown:
        return Registered(missing="No training is registered yet: dvc repro registers what it evaluates.")
    return Registered(trainings=shown, left_out=sum(count for _, count in found))


def own_trainings(trained: Sequence[TrainedCell]) -> frozenset[str]:
    """The ids of the trainings whose networks are all in the workspace, one for each loss."""
    fingerprints: dict[str, list[str]] = defaultdict(list)
    for one in trained:
        fingerprints[one.cell.loss].append(one.card.fingerprint)
    return frozenset(training_id(each) for each in fingerprints.values() if BY_HAND not in each)


def _of_model(
    name: str, server: Server, own: frozenset[str], zone: datetime.tzinfo | None
) -> tuple[list[RegisteredTraining], int]:
    """(the trainings to show, how many there are besides)."""
    try:
        versions, aliases, _ = read_model(name, server)
    except DataError:  # nobody has registered this name yet
        return [], 0
    leads = {alias: int(one.version) for alias, one in aliases.items()}
    every = [one for one in reversed(versions) if is_training(one)]
    kept = {int(one.version) for one in every[:MOST_SHOWN]} | {leads[alias] for alias in _ALIASES if alias in leads}
    shown = [one for one in every if int(one.version) in kept or one.tags.get(tags.TRAINING) in own]
    return [_training(one, leads, own, zone) for one in shown], len(every) - len(shown)


def _training(
    version: ModelVersion, leads: Mapping[str, int], own: frozenset[str], zone: datetime.tzinfo | None
) -> RegisteredTraining:
    told = version.tags
    metric = told.get("capillary.metric", "")
    is_this = told.get(tags.TRAINING) in own
    return RegisteredTraining(
        model=version.name,
        version=int(version.version),
        state=_state(version, leads),
        loss=told.get("capillary.loss", ""),
        networks=told.get("capillary.cells", ""),
        metric=METRICS[metric].title if metric in METRICS else metric,
        value=told.get(f"capillary.{metric}", ""),
        volumes=told.get(tags.VOLUMES, ""),
        held_out=told.get(tags.HELD_OUT, ""),
        commit=told.get(tags.COMMIT, ""),
        made=_moment(version.creation_timestamp, zone),
        is_this=is_this,
        against_champion=_against_champion(version, leads.get(CHAMPION)) if is_this else "",
    )


def _state(version: ModelVersion, leads: Mapping[str, int]) -> str:
    held = [
        alias
        for alias in (*_ALIASES, *sorted(leads.keys() - set(_ALIASES)))
        if leads.get(alias) == int(version.version)
    ]
    return ", ".join(held) or ("rehearsal" if _is_rehearsal(version) else "")


def _is_rehearsal(version: ModelVersion) -> bool:
    return version.tags.get(tags.REHEARSAL) == "true"


def _against_champion(version: ModelVersion, champion: int | None) -> str:
    """How the training of this workspace compares with the champion, as evaluate noted it in the model's history."""
    if _is_rehearsal(version):
        return "It is a rehearsal, which is compared with no champion."
    ordered = sorted(entries_of(version), key=lambda one: one.key)
    entry = next((one for one in reversed(ordered) if one.kind == EVALUATED), None)
    if entry is None:
        return "Another loss of its evaluation was better, so it was not compared with the champion."
    sentence = "It is the champion" if champion == int(version.version) else f"The champion is version {champion}"
    if entry.former is None:
        return f"{sentence}. When it was evaluated, there was none: {entry.why}."
    against = "against the champion of that time, " if str(champion) != entry.former else "against it, "
    return f"{sentence}. When it was evaluated, {against}version {entry.former}: {entry.why}."


def _moment(made_ms: int | None, zone: datetime.tzinfo | None) -> datetime.datetime | None:
    """None also for a time that a server made up."""
    try:
        return datetime.datetime.fromtimestamp(made_ms / 1000, zone).astimezone(zone) if made_ms else None
    except (OverflowError, OSError, ValueError):
        return None
