"""The folder of one run: made, opened again, added to, read.

<outbox>/<stage>-<fingerprint>-<id>/
    head.json       whose run it is
    records.jsonl   what there is to send, in order; only ever added to
    files/          artifacts
    publish/        what is to be registered, a folder each
    sent.json       how far each server has it
    writer.lock     held by the stage that writes
    sender.lock     held by whoever sends
"""

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Annotated
from uuid import uuid4

from pydantic import Field, Strict, TypeAdapter, ValidationError

from stages.common.atomic import atomic_write, name_the_file
from stages.common.lifetimes.locks import take
from stages.common.text import json_value, without_login
from stages.common.tracking.spool.plain import open_plain, read_plain
from stages.common.tracking.spool.records import MOST_LINE_BYTES, Head, Record, head_json, head_of, line_of, record_of

HEAD, RECORDS, SENT = "head.json", "records.jsonl", "sent.json"
FILES, PUBLISH = "files", "publish"
_MOST_BYTES = 1 << 20
_Count = Annotated[int, Strict(), Field(ge=0)]


@dataclass(frozen=True, kw_only=True)
class Sent:
    """How far a server has a run: `offset` bytes of the records; `refused` records it will never take."""

    run_id: str = ""
    offset: _Count = 0
    refused: _Count = 0


_SENT = TypeAdapter(Sent)


class Spool:
    """One run's folder. Only who holds `locked(writer)` adds to it."""

    def __init__(self, folder: Path, head: Head) -> None:
        self.folder, self.head = folder, head

    @property
    def size(self) -> int:
        """Bytes of records."""
        file = self.folder / RECORDS
        return file.stat().st_size if file.exists() else 0

    def append(self, record: Record) -> None:
        """Add `record`, whole or not at all. Raises OSError, with the file as it was."""
        self.append_lines([line_of(record)])

    def append_lines(self, lines: list[bytes]) -> None:
        """Add `lines`, all or none."""
        with (self.folder / RECORDS).open("ab", buffering=0) as stream:
            before, content = stream.tell(), b"".join(lines)
            try:
                written = stream.write(content)
                if written != len(content):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except OSError as error:
                stream.truncate(before)
                name_the_file(error, self.folder / RECORDS)
                raise

    def records(self, offset: int = 0) -> Iterator[tuple[Record | None, int]]:
        """(record, where it ends) from `offset` on; None for a damaged line. An unfinished last line is left out."""
        file = self.folder / RECORDS
        if not file.exists():
            return
        with open_plain(file) as stream:
            stream.seek(offset)
            while line := stream.readline(MOST_LINE_BYTES):
                offset += len(line)
                if not line.endswith(b"\n") and len(line) < MOST_LINE_BYTES:
                    return
                yield record_of(line), offset

    def drop_unfinished(self) -> None:
        """Cut off what a killed process left of a line."""
        file = self.folder / RECORDS
        if not file.exists():
            return
        with file.open("r+b") as stream:
            end = size = stream.seek(0, os.SEEK_END)
            while end > 0:  # from behind: the file of a long training is large
                start = max(0, end - MOST_LINE_BYTES)
                stream.seek(start)
                end = start + stream.read(end - start).rfind(b"\n") + 1
                if end > start:
                    break
            if end < size:
                stream.truncate(end)

    def sent(self, uri: str) -> Sent:
        """How far the server at `uri` has it; what cannot be read counts as nothing, and is sent again."""
        entry = self._all_sent().get(without_login(uri))
        if not isinstance(entry, dict) or entry.keys() != Sent.__dataclass_fields__.keys():
            return Sent()
        try:
            sent = _SENT.validate_python(entry)
        except ValidationError:
            return Sent()
        return sent if sent.offset <= self.size else Sent()

    def note_sent(self, uri: str, sent: Sent) -> None:
        """Keep `sent`. Raises OSError, also where the folder is gone: it would come back with nothing else in it."""
        self.folder.stat()
        entries = {**self._all_sent(), without_login(uri): asdict(sent)}
        with atomic_write(self.folder / SENT) as stream:
            stream.write(json.dumps(entries, indent=2).encode())

    def _all_sent(self) -> dict[str, object]:
        try:
            data = json_value(read_plain(self.folder / SENT, _MOST_BYTES))
        except (FileNotFoundError, ValueError):
            return {}
        return data if isinstance(data, dict) else {}

    def remove(self) -> None:
        """Remove the folder; it has no name that counts from the first step on.

        Where another process removes it, or this one may not, nothing is raised: all of it is published.
        """
        gone = self.folder.with_name(f".{self.folder.name}.{uuid4().hex[:8]}.gone")
        with contextlib.suppress(OSError):
            self.folder.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)

    def lock(self, name: str) -> IO[bytes] | None:
        """The lock `name` (writer, sender), held until it is closed; None if another process has it.

        Also None if another process has just published the run and removed its folder. Raises OSError.
        """
        try:
            return take(self.folder / f"{name}.lock")
        except FileNotFoundError:
            return None


def create(outbox: Path, name: str, head: Head) -> Spool:
    """A new spool. Raises OSError."""
    ready, folder = outbox / f".{name}.new", outbox / name
    for leftover in outbox.glob(".*.gone"):  # of a process that was killed while it removed a published run
        shutil.rmtree(leftover, ignore_errors=True)
    shutil.rmtree(ready, ignore_errors=True)
    for inner in (FILES, PUBLISH):
        (ready / inner).mkdir(parents=True)
    (ready / RECORDS).touch()
    with atomic_write(ready / HEAD) as stream:
        stream.write(head_json(head))
    ready.rename(folder)
    return Spool(folder, head)


def read(folder: Path) -> Spool | None:
    """The spool in `folder`, None if there is none of this form, or where a link stands for its records."""
    try:
        if (folder / RECORDS).is_symlink():
            return None
        head = head_of(read_plain(folder / HEAD, _MOST_BYTES))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return None if head is None else Spool(folder, head)
