"""What the service and its worker say to each other: one JSON object per line."""

import json
from typing import Any

from pydantic import BaseModel, ConfigDict

from serving.jobs.record import Result, Served

LONGEST_LINE = 1_000_000


class Message(BaseModel):
    """Frozen; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Segment(Message):
    """To the worker: segment the stack of job `job` in `folder`. Files are named as in serving.jobs.files."""

    ask: str = "segment"
    job: str
    folder: str
    request: dict[str, Any]


class Resolve(Message):
    """To the worker: which networks does `reference` lead to now? Answered in the middle of a stack, too.

    The answer has the same `number`: one that comes too late is none to the next question.
    """

    ask: str = "resolve"
    reference: str
    number: int


class Answer(Message):
    """From the worker: what one of the fields says. `pinned` goes with `ready`: the reference with its versions."""

    job: str | None = None
    ready: Served | None = None
    pinned: str = ""
    progress: float | None = None
    result: Result | None = None
    failure: dict[str, Any] | None = None
    number: int = 0
    resolved: str | None = None
    unresolved: str | None = None


def line_of(message: Message) -> bytes:
    """`message` as it goes through the pipe."""
    return json.dumps(message.model_dump(mode="json", exclude_none=True)).encode() + b"\n"
