"""What is known of one volume under one network: what tables, statistics and pictures are made from."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from stages.evaluate.measure import Measurement
from stages.evaluate.views import Views


@dataclass(frozen=True, kw_only=True)
class Row:
    """One volume under one network, with small pictures of it.

    `seconds` is told and logged, but kept out of the tables: they are reproducible.
    """

    loss: str
    fold: int
    id: str
    group: str  # volumes of one group (two fields of one animal) are not independent ones
    measurement: Measurement
    views: Views
    weights_sha256: str
    seconds: float
    seed: int | None = None  # another one; None: training.seed

    @property
    def volume(self) -> tuple[int, str]:
        """Which volume, in which fold."""
        return (self.fold, self.id)

    def seed_or(self, first: int | None) -> int | None:
        """The seed, which is `first` where it is no further one."""
        return first if self.seed is None else self.seed


def has_further_seeds(rows: Sequence[Row]) -> bool:
    """Whether networks of several seeds were measured."""
    return any(row.seed is not None for row in rows)


def over_seeds(rows: Sequence[Row]) -> list[Row]:
    """The rows, one for each loss, fold and volume: values are means over the seeds, all else is the first seed's.

    Seeds of one volume are not independent measurements: whatever counts volumes or groups takes these. Without
    additional seeds they are `rows` as they are. A value that could be measured under some seeds only is their mean.
    """
    cells: dict[tuple[str, int, str], list[Row]] = {}
    for row in rows:
        cells.setdefault((row.loss, *row.volume), []).append(row)
    return [each[0] if len(each) == 1 else _merged(each) for each in cells.values()]


def _merged(rows: Sequence[Row]) -> Row:
    values = {}
    for name in rows[0].measurement.values:
        known = [row.measurement.values[name] for row in rows if not math.isnan(row.measurement.values[name])]
        values[name] = fmean(known) if known else math.nan
    return replace(rows[0], measurement=replace(rows[0].measurement, values=values))


def first_of_each(rows: Sequence[Row]) -> list[Row]:
    """The rows of each volume's first seed, for pictures: a mean of values belongs to none."""
    found: dict[tuple[str, int, str], Row] = {}
    for row in rows:
        found.setdefault((row.loss, *row.volume), row)
    return list(found.values())
