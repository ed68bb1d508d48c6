"""What is in an outbox: runs, how they ended, and what they have to publish."""

from collections.abc import Iterator
from pathlib import Path

from stages.common.tracking.spool.folder import PUBLISH, Spool, read
from stages.common.tracking.spool.records import PublishRecord, StatusRecord


def spools_in(outbox: Path) -> Iterator[Spool]:
    """Every run in `outbox`, the first begun first. A folder of another form is left alone."""
    found = (spool for folder in _named_in(outbox) if (spool := _read(folder)) is not None)
    yield from sorted(found, key=lambda spool: spool.head.started_ms)


def foreign_in(outbox: Path) -> list[Path]:
    """What is in `outbox` and is not a run of this form: of another version, damaged, or another user's."""
    return [folder for folder in _named_in(outbox) if _read(folder) is None]


def _named_in(outbox: Path) -> list[Path]:
    folders = sorted(outbox.iterdir()) if outbox.is_dir() else []
    return [folder for folder in folders if not folder.name.startswith(".")]


def _read(folder: Path) -> Spool | None:
    try:
        return None if folder.is_symlink() else read(folder)
    except PermissionError:
        return None


def last_status(spool: Spool) -> str:
    """How the run ended so far; RUNNING where nothing says that it did."""
    records = (record for record, _ in spool.records())
    return next((one.status for one in reversed([r for r in records if isinstance(r, StatusRecord)])), "RUNNING")


def folders_of_kind(outbox: Path, publisher: str) -> Iterator[Path]:
    """The folders in `outbox` that wait for `publisher`; of a run that is repeated, the last one first."""
    for spool in reversed(list(spools_in(outbox))):
        yield from folders_in(spool, publisher)


def folders_in(spool: Spool, publisher: str) -> Iterator[Path]:
    """Those of one run."""
    records = [record for record, _ in spool.records() if isinstance(record, PublishRecord)]
    yield from (spool.folder / PUBLISH / one.folder for one in reversed(records) if one.publisher == publisher)
