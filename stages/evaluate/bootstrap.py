"""How sure a mean over volumes is: the percentile bootstrap (Efron 1979), over volumes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean over volumes with its bootstrap interval; both ends are the mean itself where there is one volume."""

    mean: float
    ci_low: float
    ci_high: float


def bootstrap_intervals(
    values: NDArray[np.float64], *, iterations: int, confidence: float, seed: int
) -> list[Interval]:
    """One interval a column of `values` (volumes, metrics).

    All columns, and all calls with the same seed and number of volumes, share their resamples, so two losses are
    compared on the same draws.
    """
    volumes = len(values)
    draws = np.random.default_rng(seed).integers(volumes, size=(iterations, volumes))
    tail = (1 - confidence) / 2
    intervals = []
    for column in values.T:  # one at a time: the gathered values are iterations × volumes
        low, high = np.quantile(column[draws].mean(axis=1), [tail, 1 - tail])
        intervals.append(Interval(mean=float(column.mean()), ci_low=float(low), ci_high=float(high)))
    return intervals
