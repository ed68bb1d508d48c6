"""The spool that a stage writes to: one that it began before, or a new one."""

import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import quote
from uuid import uuid4

from stages.common.program.messages import get_logger
from stages.common.tracking.spool.folder import Spool, create
from stages.common.tracking.spool.listing import last_status, spools_in
from stages.common.tracking.spool.records import Head

log = get_logger(__name__)

_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """The run that a stage asks for. `identity` are the tags by which it is found again; `tags` are additional ones.

    `id` is the one that a checkpoint names, None if there is none.
    """

    stage: str
    fingerprint: str
    identity: Mapping[str, str]
    tags: Mapping[str, str]
    run_name: str
    id: str | None = None


def open_spool(outbox: Path, wanted: RunRequest, now_ms: int) -> tuple[Spool, IO[bytes]]:
    """(the spool, the lock that lets nobody else write to it).

    That is the one with the id, else the last one of that identity that did not finish, else a new one. Where `outbox`
    cannot be written, it is one in a temporary folder, which is said. Raises OSError if that fails, too.
    """
    try:
        outbox.mkdir(parents=True, exist_ok=True)
        return _former(outbox, wanted) or _new(outbox, wanted, now_ms)
    except OSError as error:
        temporary = Path(tempfile.mkdtemp(prefix="capillary-outbox-"))
        log.warning(
            f"the record of this run cannot be written to {outbox} ({error.strerror or error}): it is kept in "
            f"{temporary}, and lost if no server takes it before the stage ends. Free space on the disk of {outbox}"
        )
        return _new(temporary, wanted, now_ms)


def _former(outbox: Path, wanted: RunRequest) -> tuple[Spool, IO[bytes]] | None:
    for spool in _candidates(outbox, wanted):
        if (lock := spool.lock("writer")) is not None:
            return spool, lock
    return None


def _candidates(outbox: Path, wanted: RunRequest) -> Iterator[Spool]:
    for spool in reversed(list(spools_in(outbox))):
        if wanted.id is not None:
            is_it = spool.head.id == wanted.id
        else:
            is_it = spool.head.identity == wanted.identity and not spool.head.is_by_hand
        if is_it and (wanted.id is not None or last_status(spool) != "FINISHED"):
            yield spool


def _new(outbox: Path, wanted: RunRequest, now_ms: int) -> tuple[Spool, IO[bytes]]:
    is_known = wanted.id is not None and _ID.fullmatch(wanted.id) and not _is_taken(outbox, wanted.id)
    own = wanted.id if is_known and wanted.id else uuid4().hex
    head = Head(
        id=own,
        stage=wanted.stage,
        fingerprint=wanted.fingerprint,
        identity=dict(wanted.identity),
        tags={**wanted.identity, **wanted.tags},
        run_name=wanted.run_name,
        started_ms=now_ms,
    )
    spool = create(outbox, f"{quote(wanted.stage, safe='@,+ ')[:80]}-{_short(wanted.fingerprint)}-{own[:8]}", head)
    lock = spool.lock("writer")
    assert lock is not None, "nobody else knows it yet"
    return spool, lock


def _is_taken(outbox: Path, own: str) -> bool:
    return any(spool.head.id == own for spool in spools_in(outbox))


def _short(fingerprint: str) -> str:
    return quote(fingerprint, safe="")[:16]
