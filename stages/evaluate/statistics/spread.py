"""How much the mean of a loss varies with the seed and how much with the fold, kept apart.

Folds differ in their volumes, too; seeds differ by chance alone. So a difference between losses that is not larger than
the spread over seeds may be chance.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np

from stages.common.atomic import atomic_write
from stages.common.statistics.groups import group_means
from stages.common.text import as_csv
from stages.evaluate.params import Evaluation
from stages.evaluate.row import Row, over_seeds

SPREAD_CSV = "spread.csv"


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Standard deviations (n − 1) of the mean over groups: over seeds, and over folds, whose seeds are averaged first.

    None if there is one seed, or one fold.
    """

    loss: str
    metric: str
    seeds: int
    sd_over_seeds: float | None
    folds: int
    sd_over_folds: float | None


def spreads(rows: Sequence[Row], evaluation: Evaluation) -> list[Spread]:
    """For each loss and metric, in the order of params.yaml."""
    found = []
    for loss in dict.fromkeys(row.loss for row in rows):
        own = [row for row in rows if row.loss == loss]
        for metric in evaluation.metrics:
            found.append(_spread(loss, metric, [row for row in own if not math.isnan(row.measurement.values[metric])]))
    return found


def _spread(loss: str, metric: str, rows: Sequence[Row]) -> Spread:
    by_seed = {seed: [row for row in rows if row.seed == seed] for seed in dict.fromkeys(row.seed for row in rows)}
    # under a seed of which a fold is missing other volumes would be averaged
    common = set.intersection(*({row.volume for row in own} for own in by_seed.values())) if by_seed else set()
    over_folds = over_seeds(rows)
    by_fold = [[row for row in over_folds if row.fold == fold] for fold in dict.fromkeys(row.fold for row in rows)]
    return Spread(
        loss=loss,
        metric=metric,
        seeds=len(by_seed),
        sd_over_seeds=_deviation(([row for row in own if row.volume in common] for own in by_seed.values()), metric),
        folds=len(by_fold),
        sd_over_folds=_deviation(by_fold, metric),
    )


def _deviation(parts: Iterable[Sequence[Row]], metric: str) -> float | None:
    means = [
        group_means(np.array([row.measurement.values[metric] for row in part]), [row.group for row in part]).mean()
        for part in parts
        if part
    ]
    return float(np.std(means, ddof=1)) if len(means) > 1 else None


def write_spreads(folder: Path, found: Sequence[Spread]) -> None:
    """Write spread.csv; equal spreads give equal bytes."""
    with atomic_write(folder / SPREAD_CSV) as stream:
        stream.write(as_csv([field.name for field in fields(Spread)], map(asdict, found)))
