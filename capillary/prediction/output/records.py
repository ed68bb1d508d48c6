"""What an output folder remembers of its files: predictions.jsonl, a line per stack that was worked on.

A line is on the disk before the files that it speaks of get their names. So a file without a line is the user's, and a
line without its file means that a run was killed in between: the stack is predicted again.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stages.common.atomic import atomic_write
from stages.common.errors import DamagedError
from stages.common.requests.prediction.content import content_sha256
from stages.common.requests.prediction.results import StackResult
from stages.common.stored import Stored, stored_from

RECORDS_FILE = "predictions.jsonl"
MAX_BYTES = 1 << 28
_WHAT = "the record of this output folder"
_REMEDY = "predict into another folder, or move this file away and repeat with --force to recompute everything"


class Record(Stored, StackResult):
    """A result, with the stack and the mask as the user names them, and the SHA-256 of each file by its name."""

    image: str
    mask: str
    files: Mapping[str, str] = {}


@dataclass(frozen=True, kw_only=True)
class History:
    """All records of a folder, the oldest first."""

    records: tuple[Record, ...] = ()

    def newest(self) -> dict[str, Record]:
        """The last record by the name of the mask, in the order in which the masks came first."""
        return {record.mask: record for record in self.records}

    def made(self, file: Path, sha256: str) -> bool:
        """Whether a run wrote `file` as it is now."""
        return any(record.files.get(file.name) == sha256 for record in self.records)

    def key_of(self, files: Sequence[Path], hashes: Mapping[Path, str]) -> str | None:
        """The key under which all of `files`, the mask first, were made and are whole; None if they are not."""
        record = self.newest().get(files[0].name)
        if record is None or any(record.files.get(file.name) != hashes.get(file, "") for file in files):
            return None
        return record.key


def hashes_of(files: Iterable[Path]) -> dict[Path, str]:
    """Of those that exist."""
    return {file: content_sha256(file) for file in files if file.exists()}


def read_history(folder: Path) -> History:
    """The records in `folder`; none if there is no file. A last line that a killed run left half is dropped.

    Raises DamagedError for a file of another form.
    """
    file = folder / RECORDS_FILE
    if not file.exists():
        return History()
    if file.is_symlink() or file.stat().st_size > MAX_BYTES:
        raise DamagedError(f"{_WHAT} cannot be read", file=file, value="it is a link or too large", remedy=_REMEDY)
    *whole, torn = file.read_bytes().split(b"\n")
    if torn:
        with atomic_write(file) as stream:
            stream.write(b"".join(line + b"\n" for line in whole))
    return History(records=tuple(stored_from(Record, line, _WHAT, file=file, remedy=_REMEDY) for line in whole))


def append_record(folder: Path, record: Record) -> None:
    """Add a line; it is on the disk when this returns."""
    with (folder / RECORDS_FILE).open("ab") as stream:
        stream.write(record.model_dump_json().encode() + b"\n")
        stream.flush()
        os.fsync(stream.fileno())
