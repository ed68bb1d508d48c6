"""A person decides which training is the champion, and says why."""

from typing import Any

from stages.common.errors import UsageError
from stages.common.registered.promotion.champion import Standing, decide, roll_back
from stages.common.registered.promotion.history import MOST_REASON, Entry
from stages.common.registered.promotion.server_record import ServerRecord
from stages.common.registered.references import named_version
from stages.common.registered.trainings.reading import read_training
from stages.common.text import visible
from stages.common.tracking.server import Server
from stages.models.answer import history_lines

_MOST_WHO = 100  # characters


def promote(reference: str, server: Server, *, who: str, reason: str) -> dict[str, Any]:
    """Make the training that `reference` names the champion of its model. Raises CapillaryError for a rehearsal."""
    _refuse_reason(reason)
    version = named_version(reference, server)
    if read_training(version, server).rehearsal:
        raise UsageError(
            f"{version.name}/{version.version} is a rehearsal: its numbers mean nothing, so aliases never point to it",
            remedy="promote a training of all folds and volumes; capillary models lists them",
        )
    record = ServerRecord(version.name, server)
    return _answer(version.name, *decide(record, str(version.version), who=_short(who), why=visible(reason)))


def rollback(name: str, server: Server, *, who: str, reason: str) -> dict[str, Any]:
    """Make the previous champion of the model `name` its champion again."""
    _refuse_reason(reason)
    return _answer(name, *roll_back(ServerRecord(name, server), who=_short(who), why=visible(reason)))


def _answer(name: str, standing: Standing, entry: Entry) -> dict[str, Any]:
    return {"name": name, "aliases": standing.aliases(), "entry": history_lines([entry])[0]}


def _short(who: str) -> str:
    return visible(who)[:_MOST_WHO]


def _refuse_reason(reason: str) -> None:
    if not reason.strip() or len(reason) > MOST_REASON:
        raise UsageError(
            "a reason is needed" if not reason.strip() else f"the reason has {len(reason)} characters",
            remedy=f"say why in up to {MOST_REASON} characters: --reason '…'",
        )
