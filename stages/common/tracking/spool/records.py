"""What a spool holds: a head that says whose run it is, and one record per line, each with its checksum.

A line is `<crc32> <JSON>`. A process that is killed, or a disk that is full, may leave the last one unfinished: it
has no line break, or another checksum, and does not count.
"""

import dataclasses
import json
import re
import zlib
from typing import Annotated, Final, Literal, Self

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from stages.common.runtime import BY_HAND

FORM: Final = 1  # of head and records; a spool of another form is left alone
MOST_LINE_BYTES = 1 << 20
_OWN_TAG = re.compile(r"capillary\.[0-9A-Za-z_.]{1,100}")
_STRICT = ConfigDict(extra="forbid", strict=True)
_Name = Annotated[str, Field(pattern=r"^[0-9A-Za-z][0-9A-Za-z ._-]{0,127}$")]  # one name, which leads nowhere else
_Folder = Annotated[str, Field(pattern=r"^[0-9A-Za-z][0-9A-Za-z._-]{0,127}(/[0-9A-Za-z][0-9A-Za-z._-]{0,127}){0,4}$")]
_Key = Annotated[str, Field(min_length=1, max_length=1000)]  # a server takes 250 characters, and says so itself
_Tags = Annotated[dict[_Key, str], Field(max_length=1000)]
_Time = Annotated[int, Field(ge=0, lt=1 << 63)]  # ms since 1970
_Step = Annotated[int, Field(ge=-(1 << 63), lt=1 << 63)]


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class Head:
    """Whose run it is. `id` is the spool's own, and a tag of the run that a server makes of it.

    A head that claims the work of another stage is refused: by `identity` the run of lost work is found and continued.
    """

    form: Literal[1] = FORM
    id: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    stage: str
    fingerprint: str
    identity: _Tags  # the tags by which the run of the same work is found again
    tags: _Tags
    run_name: str
    started_ms: _Time

    @model_validator(mode="after")
    def _is_of_its_stage(self) -> Self:
        claimed = {"capillary.stage": self.stage, "capillary.fingerprint": self.fingerprint}
        if claimed.items() - self.identity.items():
            raise ValueError("the identity is not that of stage and fingerprint")
        if any(not _OWN_TAG.fullmatch(name) or "'" in text for name, text in self.identity.items()):
            raise ValueError("the identity is not made of capillary's tags")
        return self

    @property
    def is_by_hand(self) -> bool:
        """Whether it has no fingerprint by which others could know it."""
        return self.fingerprint == BY_HAND


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class ParamsRecord:
    """Params, as strings."""

    kind: Literal["params"] = "params"
    values: _Tags


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class TagsRecord:
    """Tags; they replace those that the run has."""

    kind: Literal["tags"] = "tags"
    values: _Tags


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class PointsRecord:
    """One point for each key, at `step`."""

    kind: Literal["points"] = "points"
    step: _Step
    time_ms: _Time
    values: Annotated[dict[_Key, float], Field(max_length=1000)]


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class FileRecord:
    """A file in the spool's folder files/, an artifact in the folder `to`."""

    kind: Literal["file"] = "file"
    name: _Name
    to: _Folder


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class PublishRecord:
    """A folder in the spool's folder publish/, for the publisher called `publisher` (publishing.py)."""

    kind: Literal["publish"] = "publish"
    publisher: _Name
    folder: _Name


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class StatusRecord:
    """What became of the run. `reason` says why it failed."""

    kind: Literal["status"] = "status"
    status: Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]
    time_ms: _Time
    reason: str = ""


Record = ParamsRecord | TagsRecord | PointsRecord | FileRecord | PublishRecord | StatusRecord
_RECORD: TypeAdapter[Record] = TypeAdapter(Annotated[Record, Field(discriminator="kind")])
_HEAD = TypeAdapter(Head)


def line_of(record: Record) -> bytes:
    """`record` as a line."""
    text = json.dumps(dataclasses.asdict(record), separators=(",", ":")).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def record_of(line: bytes) -> Record | None:
    """The record in `line`; None for a line that is not whole, or holds what no record may."""
    checksum, _, text = line.rstrip(b"\n").partition(b" ")
    if not line.endswith(b"\n") or checksum != b"%08x" % zlib.crc32(text):
        return None
    try:
        return _RECORD.validate_json(text)
    except ValidationError:
        return None


def head_json(head: Head) -> bytes:
    """The content of head.json."""
    return _HEAD.dump_json(head, indent=2) + b"\n"


def head_of(content: bytes) -> Head | None:
    """The head in `content`; None for what is not one of this form."""
    try:
        return _HEAD.validate_json(content)
    except ValidationError:
        return None
