"""What only the program that ran the experiment knows. All of it may be unknown: a report can be written any time."""

import datetime
from collections.abc import Mapping
from dataclasses import dataclass

from stages.common.cell_name import CellName


@dataclass(frozen=True, kw_only=True)
class OfCell:
    """Something of one training. `seed` is another one, None: training.seed."""

    loss: str
    fold: int
    seed: int | None = None

    @property
    def cell(self) -> CellName:
        """Which training."""
        return CellName(self.loss, self.fold, self.seed)


@dataclass(frozen=True, kw_only=True)
class CellFact(OfCell):
    """How one training ended: `status` in a word (trained, skipped, failed, …), `reason` for one that failed.

    One that ran as a job of a cluster has the `node`, the seconds for which it waited there and how often it was taken
    up again.
    """

    status: str
    wall_s: float | None = None
    reason: str | None = None
    node: str | None = None
    waited_s: float | None = None
    retries: int = 0


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """`command` is what the user typed, `started` carries its time zone, `environment` is shown as it is."""

    description: str | None = None
    command: str | None = None
    started: datetime.datetime | None = None
    wall_s: float | None = None
    cells: tuple[CellFact, ...] | None = None
    profile: str | None = None
    environment: Mapping[str, str] | None = None
