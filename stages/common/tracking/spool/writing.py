"""Adding to a spool: each point once, and on a full disk as much as can be kept. Nothing here stops a training."""

import contextlib
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO

from stages.common.atomic import atomic_write
from stages.common.program.messages import get_logger
from stages.common.tracking.spool.folder import FILES, PUBLISH, Spool
from stages.common.tracking.spool.records import (
    FileRecord,
    ParamsRecord,
    PointsRecord,
    PublishRecord,
    Record,
    StatusRecord,
    TagsRecord,
    line_of,
)

log = get_logger(__name__)

MOST_WAITING = 100_000  # lines in memory while the disk takes none: a few days of a training


def now_ms() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


class Writer:
    """The only one who adds to `spool`, by holding `lock`; `added` is called after each record."""

    def __init__(self, spool: Spool, lock: IO[bytes], added: Callable[[], None]) -> None:
        self.spool, self._lock, self._added = spool, lock, added
        self.params: dict[str, str] = {}
        self._steps: dict[str, set[int]] = {}
        self._published: dict[str, str] = {}
        self._waiting: list[bytes] = []
        self._lost = 0
        self._is_told = False
        self._guard = threading.Lock()  # the stage and the thread that samples the load both write
        spool.drop_unfinished()
        for record, _ in spool.records():
            self._learn(record)

    @property
    def unkept(self) -> int:
        """How many records the disk has not taken."""
        return len(self._waiting) + self._lost

    def next_step(self, key: str) -> int:
        """The step after the last one of `key`."""
        return max(self._steps.get(key, ()), default=-1) + 1

    def add_params(self, values: Mapping[str, str]) -> None:
        """Those that are new."""
        if new := {key: text for key, text in values.items() if key not in self.params}:
            self._add(ParamsRecord(values=new))

    def add_tags(self, values: Mapping[str, str]) -> None:
        """Over those that there are."""
        self._add(TagsRecord(values=dict(values)))

    def add_points(self, values: Mapping[str, float], step: int, time_ms: int) -> None:
        """Those keys that have no point at `step` yet."""
        with self._guard:
            new = {key: float(value) for key, value in values.items() if step not in self._steps.get(key, ())}
            if new:
                self._keep(PointsRecord(step=step, time_ms=time_ms, values=new))
        self._added()

    def add_status(self, status: str, reason: str = "") -> None:
        """What became of the run."""
        self._add(StatusRecord(status=status, time_ms=now_ms(), reason=reason))  # type: ignore[arg-type]

    def add_file(self, source: Path, to: str) -> None:
        """A copy of `source`, as an artifact in the folder `to`; said where the disk does not take it."""
        folder = self.spool.folder / FILES / to
        try:
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, folder / f".{source.name}.new")
            (folder / f".{source.name}.new").replace(folder / source.name)
        except OSError as error:
            (folder / f".{source.name}.new").unlink(missing_ok=True)
            self._tell(error)
            self._lost += 1
            return
        self._add(FileRecord(name=source.name, to=to))

    def add_publication(self, publisher: str, files: Mapping[str, bytes]) -> None:
        """A folder of `files` for `publisher`; the same ones again add nothing. Raises OSError: it must not be lost."""
        number = sum(name.startswith(publisher) for name in self._published)
        for name, kept_for in self._published.items():
            if kept_for == publisher and _holds(self.spool.folder / PUBLISH / name, files):
                return
        name = f"{publisher}-{number}"
        folder = self.spool.folder / PUBLISH / name
        shutil.rmtree(folder, ignore_errors=True)
        for file, content in files.items():
            with atomic_write(folder / file) as stream:
                stream.write(content)
        with self._guard:
            record = PublishRecord(publisher=publisher, folder=name)
            self.spool.append_lines([*self._waiting, line_of(record)])
            self._waiting.clear()
            self._learn(record)
        self._added()

    def close(self) -> None:
        """Write what memory still holds, as far as the disk takes it, and let another process write."""
        with self._guard:
            self._flush()
        self._lock.close()

    def _add(self, record: Record) -> None:
        with self._guard:
            self._keep(record)
        self._added()

    def _keep(self, record: Record) -> None:
        self._learn(record)
        self._waiting.append(line_of(record))
        self._flush()
        if len(self._waiting) > MOST_WAITING:
            self._lost += 1
            del self._waiting[0]

    def _flush(self) -> None:
        """Write the lines that wait, all of them or as many as the disk takes."""
        try:
            if self._waiting:
                self.spool.append_lines(self._waiting)
                self._waiting.clear()
        except OSError as error:
            self._tell(error)
            with contextlib.suppress(OSError):
                while self._waiting:
                    self.spool.append_lines(self._waiting[:1])
                    del self._waiting[0]

    def _tell(self, error: OSError) -> None:
        """Once: a line per point would hide the training's own."""
        if not self._is_told:
            self._is_told = True
            log.warning(
                f"the record of this run cannot be written to {self.spool.folder} ({error.strerror or error}): the "
                "work continues, and what the disk cannot hold waits in memory. Free space on this disk"
            )

    def _learn(self, record: Record | None) -> None:
        if isinstance(record, ParamsRecord):
            self.params |= record.values
        elif isinstance(record, PointsRecord):
            for key in record.values:
                self._steps.setdefault(key, set()).add(record.step)
        elif isinstance(record, PublishRecord):
            self._published[record.folder] = record.publisher


def _holds(folder: Path, files: Mapping[str, bytes]) -> bool:
    try:
        return all((folder / name).read_bytes() == content for name, content in files.items())
    except FileNotFoundError:
        return False
