"""The hidden folder next to a mask in which its blocks come together, and which an interrupted command finds again.

.<mask>.blocks/
    key             what the blocks are made from: another one begins anew
    survey.json     what all blocks share
    work/           the stores, and blocks.jsonl with a line per block that is done
    parts/          results of jobs that are not merged yet
    joined/         what the last step made
"""

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

from capillary.prediction.many import locked
from stages.common.errors import DamagedError
from stages.common.requests.prediction.records import BLOCKS_FILE, MOST_BLOCKS, SURVEY_FILE, BlockResult, BlockSurvey
from stages.common.stored import stored_from

KEY_FILE = "key"
MAX_BYTES = 1 << 27  # of the lines of MOST_BLOCKS
_WHAT = "what a former run of this prediction left"


class Kept:
    """The folder `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.work, self.parts, self.joined = (folder / name for name in ("work", "parts", "joined"))
        self.survey_file = folder / SURVEY_FILE

    def begin(self, key: str) -> None:
        """Remove what was made from anything else than `key` says."""
        file = self.folder / KEY_FILE
        if not file.is_file() or file.read_text(encoding="utf-8") != key:
            for place in (self.work, self.parts):
                shutil.rmtree(place, ignore_errors=True)
            self.survey_file.unlink(missing_ok=True)
            file.write_text(key, encoding="utf-8")
        shutil.rmtree(self.joined, ignore_errors=True)
        for place in (self.work, self.parts, self.joined):
            place.mkdir(exist_ok=True)

    def survey(self) -> BlockSurvey | None:
        """What the first step found, None before it. Raises DamagedError for what it does not leave."""
        if not self.survey_file.is_file():
            return None
        content = self.survey_file.read_bytes()
        found = stored_from(BlockSurvey, content, _WHAT, file=self.survey_file, remedy=self._remedy)
        if found.grid.count > MOST_BLOCKS:
            raise self._damaged(self.survey_file, f"{found.grid.count} blocks")
        return found

    def done(self, survey: BlockSurvey) -> Mapping[int, int]:
        """Block → its voxels of vessel, of those that are whole. A line that a killed run left half is dropped."""
        file = self.work / BLOCKS_FILE
        results = read_results(file)
        if any(result.number >= survey.grid.count for result in results):
            raise self._damaged(file, f"a block beyond the {survey.grid.count} of the stack")
        return {result.number: result.vessel_voxels for result in results}

    def add(self, results: list[BlockResult]) -> None:
        """Note blocks whose chunks are in the stores; it is on the disk when this returns."""
        with _open_plain(self.work / BLOCKS_FILE, os.O_WRONLY | os.O_APPEND | os.O_CREAT, "ab") as stream:
            stream.writelines(result.model_dump_json().encode() + b"\n" for result in results)
            stream.flush()
            os.fsync(stream.fileno())

    @property
    def _remedy(self) -> str:
        return f"remove {self.folder}, and repeat the command: it begins anew"

    def _damaged(self, file: Path, why: str) -> DamagedError:
        return DamagedError(f"{_WHAT} cannot be read", file=file, value=why, remedy=self._remedy)


@contextlib.contextmanager
def kept_folder(mask: Path) -> Iterator[Kept]:
    """The folder of `mask`, made if it is missing and held for the block. Its user removes it when all is done."""
    folder = mask.absolute().with_name(f".{mask.name}.blocks")
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        yield Kept(folder)


def read_results(file: Path) -> list[BlockResult]:
    """The lines of `file`, which a stage wrote; none if it is missing. A last line that is not whole is removed.

    Raises DamagedError for what a stage does not write.
    """
    if not os.path.lexists(file):
        return []
    with _open_plain(file, os.O_RDWR, "r+b") as stream:
        *whole, torn = stream.read(MAX_BYTES).split(b"\n")
        if torn:
            stream.truncate(sum(len(line) + 1 for line in whole))
    what = "the record of the blocks that are done"
    return [stored_from(BlockResult, line, what, file=file, remedy=_again(file)) for line in whole]


def _open_plain(file: Path, flags: int, mode: str) -> IO[bytes]:
    """`file`, which a stage may have made a link to a file of the user, or a pipe that nobody writes to."""
    try:
        number = os.open(file, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.EMLINK, errno.ENXIO, errno.EISDIR):
            raise
        raise _unreadable(file, "a link, a folder or a special file") from error
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise _unreadable(file, "a special file")
    return os.fdopen(number, mode)


def _unreadable(file: Path, why: str) -> DamagedError:
    return DamagedError(
        "the record of the blocks that are done cannot be read",
        file=file,
        value=why,
        remedy=_again(file),
    )


def _again(file: Path) -> str:
    return f"remove {file}, and repeat the command: the blocks are predicted again"
