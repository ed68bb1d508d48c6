"""A job as it is on disk: what was asked for, by whom, how far it is, and which model answered."""

import enum
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

MASK_SUFFIXES = (".tif", ".nii.gz")


class State(enum.StrEnum):
    """Where a job is. The last three are ends."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will happen to the job."""
        return self in (State.DONE, State.FAILED, State.CANCELLED)


class Stored(BaseModel):
    """Frozen, and complete: an unknown key in a file is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Served(Stored):
    """The networks that answer: `name` and `version` as the registry has them, and the hash of their weights."""

    name: str = Field(max_length=300)
    version: str = Field(max_length=300)
    weights_sha256: str = Field(pattern="^[0-9a-f]{64}$")


MOST_ATTEMPTS = 3  # of a stack that takes its process, or the whole service, with it


class Failure(Stored):
    """Why a job failed."""

    what: str
    remedy: str


class Request(Stored):
    """What a client asked for. `suffix` is that of `file_name`, `spacing_um` z, y, x where the file has none.

    `unpacked` is where the stack of an archive is in the job's folder, `dataset` the place of the array in an HDF5
    file. `view` asks for small copies of stack and mask, which the page shows.
    """

    file_name: str = Field(max_length=300)
    suffix: str
    unpacked: str = ""
    dataset: str = ""
    spacing_um: tuple[float, float, float] | None = None
    mask_suffix: Literal[".tif", ".nii.gz"] = ".tif"
    probability: bool = False
    picture: bool = False
    view: bool = False


class Result(Stored):
    """What came of it."""

    seconds: float
    shape_zyx: tuple[int, int, int]
    spacing_um: tuple[float, float, float]
    vessel_share: float


class Job(Stored):
    """One stack. Times are seconds since 1970; `owner` is the fingerprint of a token."""

    format: Literal[1] = 1
    id: str = Field(pattern="^[0-9a-f]{32}$")
    owner: str
    request: Request
    state: State = State.QUEUED
    progress: float = Field(default=0.0, ge=0, le=1)
    created: float
    started: float | None = None
    ended: float | None = None
    attempts: int = 0
    model: Served | None = None
    result: Result | None = None
    failure: Failure | None = None
