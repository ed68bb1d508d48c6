"""What a node leaves in the folder of a job: which node took it, how it ended. The head trusts none of it."""

import itertools
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import Field

from capillary.compute.circumstances import MOST_NOTE_BYTES, Circumstances, note_of, read_note
from stages.common.atomic import atomic_write
from stages.common.errors import DamagedError
from stages.common.program.messages import get_logger
from stages.common.stored import Stored, stored_from

log = get_logger(__name__)

ATTEMPTS = "attempts"
ENDED_FILE = "ended.json"
CIRCUMSTANCES_FILE = "circumstances.json"
STOP_FILE = "stop"
REQUEUED_FILE = "requeued"  # the job itself went back into the queue
OUTS = "outs"
_MOST_BYTES = 65536
_WHAT = "a file that a node wrote into the folder of a job"
_REMEDY = "remove the folder of the job and repeat the command: a training resumes from its checkpoint"
_Name = Annotated[str, Field(max_length=255)]
_Time = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Attempt(Stored):
    """A node that took the job; `started` is in seconds since 1970."""

    node: _Name
    started: _Time


class Ended(Stored):
    """How a job ended; `started` and `ended` are those of its last attempt, in seconds since 1970.

    `full` is the node's folder for temporary files if the job failed because the node's own disk is full.
    """

    code: Annotated[int, Field(ge=0, le=255)]
    node: _Name
    started: _Time
    ended: _Time
    full: Annotated[str, Field(max_length=4096)] = ""


Left = TypeVar("Left", Attempt, Ended)


def write_attempt(folder: Path, attempt: Attempt) -> None:
    """Record that a node takes the job, next to the attempts before it."""
    taken = len(list(attempts(folder)))
    _write(folder / ATTEMPTS / f"{taken + 1}.json", attempt)


def attempts(folder: Path) -> Iterator[Attempt]:
    """All attempts at the job in order; DamagedError for one that cannot be read."""
    for number in itertools.count(1):
        found = _read(folder / ATTEMPTS / f"{number}.json", Attempt)
        if found is None:
            return
        yield found


def write_ended(folder: Path, ended: Ended) -> None:
    """Record that the job is over."""
    _write(folder / ENDED_FILE, ended)


def read_ended(folder: Path) -> Ended | None:
    """How the job ended; None if it has not. DamagedError for anything that a job would not write."""
    return _read(folder / ENDED_FILE, Ended)


def write_circumstances(folder: Path, found: Circumstances) -> None:
    """Record what the node computes the job with."""
    with atomic_write(folder / CIRCUMSTANCES_FILE) as stream:
        stream.write(note_of(found))


def read_circumstances(folder: Path) -> Circumstances | None:
    """What the node computed the job with; None if it does not say so, or nothing that a job would write."""
    file = folder / CIRCUMSTANCES_FILE
    try:
        content = _content(file, MOST_NOTE_BYTES)
    except DamagedError as error:
        log.warning(f"{error.what} ({error.value}); an audit will know nothing of the node: {file}")
        return None
    found = None if content is None else read_note(content)
    if content is not None and found is None:
        log.warning(f"an audit will know nothing of the node, since its note of itself is damaged: {file}")
    return found


def _write(file: Path, left: Stored) -> None:
    with atomic_write(file) as stream:
        stream.write(left.model_dump_json().encode() + b"\n")


def _read(file: Path, kind: type[Left]) -> Left | None:
    """`file` as `kind`; DamagedError for anything else."""
    content = _content(file, _MOST_BYTES)
    return None if content is None else stored_from(kind, content, _WHAT, file=file, remedy=_REMEDY)


def _content(file: Path, most_bytes: int) -> bytes | None:
    """What `file` holds, read without following a link and no further than what a job writes."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _damaged(file, error.strerror) from error
    with os.fdopen(descriptor, "rb") as stream:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise _damaged(file, "it is not a plain file")
        return stream.read(most_bytes)


def _damaged(file: Path, why: str | None) -> DamagedError:
    return DamagedError(f"{_WHAT} cannot be read", file=file, value=why, remedy=_REMEDY)
