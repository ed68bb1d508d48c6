"""Takes each finished stack of a batch from the stage's folder to the user's while the stage works on the others.

The stage never sees the user's folder. What it made is taken over first, out of its reach, and recorded there.
"""

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from capillary.prediction.output.records import History, Record, append_record, hashes_of
from capillary.prediction.output.table import write_table
from capillary.publishing.publish import publish_file
from capillary.publishing.take_over import take_over
from stages.common.errors import CapillaryError, ExitCode
from stages.common.requests.prediction.request import StackRequest
from stages.common.requests.prediction.results import RESULTS_FILE, StackResult
from stages.common.tracking.spool.plain import open_plain

POLL_S = 0.5
MOST_BYTES = 1 << 20  # of a line, or of lines that are read at once


@dataclass(kw_only=True)
class Publisher:
    """`stacks` are those of the request, with the user's paths; `work` is the stage's folder, `taken` out of its sight.

    `history` grows by a record per stack. `counts` says how many stacks ended how.
    """

    stacks: tuple[StackRequest, ...]
    folder: Path
    work: Path
    taken: Path
    history: History
    counts: dict[str, int] = field(default_factory=lambda: {"done": 0, "unchanged": 0, "failed": 0})
    _offset: int = 0
    _told: set[int] = field(default_factory=set)

    def take(self) -> None:
        """Publish what the stage finished since the last call."""
        while lines := self._new_lines():
            for line in lines:
                self._publish(self._result(line))

    @contextlib.contextmanager
    def watching(self, ask_to_stop: Callable[[], None]) -> Iterator[None]:
        """Publish during the block, and what is left at its end, also after an error of the block.

        When publishing fails, the stage is asked to stop, and the block ends with that error.
        """
        done = threading.Event()
        with ThreadPoolExecutor(1, "publisher") as pool:
            watch = pool.submit(self._watch, done)
            watch.add_done_callback(lambda ended: ask_to_stop() if ended.exception() else None)
            try:
                yield
            finally:
                done.set()
                watch.result()
                self.take()

    def _watch(self, done: threading.Event) -> None:
        while not done.wait(POLL_S):
            self.take()

    def _new_lines(self) -> list[bytes]:
        """Whole lines only, and not all of them at once: the stage may be writing the next one, or many."""
        try:
            with open_plain(self.work / RESULTS_FILE) as stream:
                stream.seek(self._offset)
                content = stream.read(MOST_BYTES)
        except FileNotFoundError:
            return []
        except (OSError, ValueError) as error:
            raise _unexpected(f"no plain {RESULTS_FILE}") from error
        *whole, rest = content.split(b"\n")
        if len(rest) == MOST_BYTES:
            raise _unexpected("a line that is not a result: it has no end")
        self._offset += sum(len(line) + 1 for line in whole)
        return whole

    def _result(self, line: bytes) -> StackResult:
        try:
            result = StackResult.model_validate_json(line)
        except ValidationError as error:
            raise _unexpected(f"a line that is not a result: {error.errors()[0]['msg']}") from error
        if result.number >= len(self.stacks) or result.number in self._told:
            raise _unexpected(f"a result of stack {result.number}, which was not requested")
        self._told.add(result.number)
        return result

    def _publish(self, result: StackResult) -> None:
        self.counts[result.status] += 1
        if result.status == "unchanged":
            return
        stack = self.stacks[result.number]
        made = self._move(stack, result.number) if result.status == "done" else {}
        hashes = {file.name: found for file, found in hashes_of(made).items()}
        record = Record(**result.model_dump(), image=str(stack.image), mask=stack.mask.name, files=hashes)
        append_record(self.folder, record)
        for file, target in made.items():
            _give_name(file, target.absolute())
        self.history = History(records=(*self.history.records, record))
        write_table(self.folder, self.history, self.taken)

    def _move(self, stack: StackRequest, number: int) -> dict[Path, Path]:
        """File where the stage cannot reach it → where it belongs. All of it is on the disk."""
        own = self.taken / f"{number:05}"
        take_over(self.work, own.name, own)
        made = {own / file.name: file for file in stack.files}
        for file in made:
            if not file.exists():
                raise _unexpected(f"no {file.name}, although it reports that it is done")
            _flush(file)
        return made


def _give_name(file: Path, target: Path) -> None:
    """In one step, from the same disk: a run that is killed leaves nothing besides the target."""
    if file.is_dir() or target.is_dir():
        publish_file(file, target)
    else:
        file.replace(target)


def _flush(path: Path) -> None:
    """To the disk; a folder's files one by one."""
    for file in [path] if path.is_file() else [inner for inner in path.rglob("*") if inner.is_file()]:
        with file.open("rb") as stream:
            os.fsync(stream.fileno())


def _unexpected(what: str) -> CapillaryError:
    return CapillaryError(
        f"the predict stage left {what}", remedy="this is a defect; report it", code=ExitCode.UNEXPECTED
    )
