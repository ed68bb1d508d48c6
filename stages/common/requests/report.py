"""What the host asks of the stage `report`, with what only the host knows: Git, DVC, the experiment, the machine.

Nothing but pydantic is imported here, because the host makes the request and must start fast. It holds no secret: it is
a plain file.
"""

import dataclasses
import datetime
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter
from pydantic.dataclasses import dataclass

from stages.common.cell_name import CellName
from stages.common.errors import DamagedError
from stages.common.runtime import ORDER_FILE, read_asked

OUT = "report"  # the folder that the stage makes, with these files
PAGE, MARKDOWN, DAMAGES = "report.html", "report.md", "damaged.json"
METRICS_FOLDER = Path("metrics")
SHORT = 12  # characters of a commit that tell it from others
_STRICT = ConfigDict(extra="forbid", strict=True)


class ReportPart(StrEnum):
    """The parts of a report that may be missing."""

    METRICS = "metrics"
    PAIRED = "paired"
    VOLUMES = "volumes"
    BANDS = "bands"
    CALIBRATION = "calibration"
    CURVES = "curves"
    OVERLAYS = "overlays"
    RUNS = "runs"
    RESOURCES = "resources"
    LOCK = "lock"
    GIT = "git"


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class CellFact:
    """How one training ended: `status` in a word (trained, skipped, failed, …), `reason` for one that failed.

    `seed` is another one, None: training.seed. One that ran as a job of a cluster has the `node`, the seconds for which
    it waited there and how often it was taken up again.
    """

    loss: str
    fold: int
    seed: int | None = None
    status: str
    wall_s: float | None = None
    reason: str | None = None
    node: str | None = None
    waited_s: float | None = None
    retries: int = 0

    @property
    def cell(self) -> CellName:
        """Which training."""
        return CellName(self.loss, self.fold, self.seed)


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class RunFacts:
    """What only the program that ran the experiment knows; all of it may be unknown.

    `command` is what the user typed, `started` carries its time zone, `environment` is shown as it is.
    """

    description: str | None = None
    command: str | None = None
    started: datetime.datetime | None = None
    wall_s: float | None = None
    cells: tuple[CellFact, ...] | None = None
    profile: str | None = None
    environment: Mapping[str, str] | None = None


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class Repository:
    """The state of the Git working tree. `changed` are files that differ from the commit, without params.yaml."""

    commit: str
    branch: str
    changed: tuple[str, ...]
    params_changed: bool


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class Param:
    """A key of params.yaml; `changed` where it differs from the commit's."""

    key: str
    value: str
    changed: bool


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class ReportRequest:
    """The report `name`, of the results in `folder`, as of `written`, a time with its zone.

    `cells` are those of params.yaml, `models` the registered models that can hold trainings of this project. `repeat`
    are lines of a shell, `stale` the stages whose outputs are not of the present files. `notes` say why parts are
    missing. `tracking_place` is the address of the runs without a login; `untracked` says why nobody is asked there.
    """

    name: str
    written: datetime.datetime
    folder: Path = METRICS_FOLDER
    facts: RunFacts = RunFacts()
    cells: tuple[CellName, ...] = ()
    confidence: float | None = None
    nsd_tolerance_um: float | None = None
    tracking_place: str = ""
    untracked: str | None = None
    models: tuple[str, ...] = ()
    repository: Repository | None = None
    environment: tuple[tuple[str, str], ...] = ()
    params: tuple[Param, ...] = ()
    repeat: tuple[str, ...] = ()
    stale: tuple[str, ...] = ()
    notes: Mapping[ReportPart, str] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class Damage:
    """A file that is there and cannot be read, in the words of an error."""

    what: str
    remedy: str
    file: str | None = None
    value: str | None = None

    @classmethod
    def of(cls, error: DamagedError) -> "Damage":
        """What `error` says."""
        file, value = (None if told is None else str(told) for told in (error.file, error.value))
        return cls(what=error.what, remedy=error.remedy, file=file, value=value)


_REQUEST = TypeAdapter(ReportRequest)
_DAMAGES = TypeAdapter(tuple[Damage, ...])


def request_tree(request: ReportRequest) -> dict[str, Any]:
    """As the stage's order holds it."""
    tree: dict[str, Any] = _REQUEST.dump_python(request, mode="json")
    return tree


def read_request(file: Path = ORDER_FILE) -> ReportRequest:
    """The request in the stage's order. Raises ParamsError for one of another form, such as an unknown key."""
    return read_asked(_REQUEST, "capillary report", file)


def damages_json(damages: tuple[Damage, ...]) -> bytes:
    """What the stage leaves for the host."""
    return _DAMAGES.dump_json(damages, indent=1)


def read_damages(content: bytes) -> tuple[Damage, ...]:
    """What the stage left; raises ValueError for another form."""
    return _DAMAGES.validate_json(content)
