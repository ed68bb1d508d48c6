"""How sure a mean over volumes is: the bootstrap over volumes (Efron 1979), its percentile and its BCa interval."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from stages.evaluate.params import BootstrapMethod, Evaluation

Values = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean over volumes with its bootstrap interval; both ends are the mean itself where there is one volume.

    `method` is the one asked for, or percentile where BCa is not defined.
    """

    mean: float
    ci_low: float
    ci_high: float
    method: BootstrapMethod


def bootstrap_intervals(values: Values, evaluation: Evaluation) -> list[Interval]:
    """One interval a column of `values` (volumes, metrics)."""
    # one at a time: the gathered values are iterations × volumes
    return [bootstrap_interval(column, resampled_means(column, evaluation), evaluation) for column in values.T]


def resampled_means(values: Values, evaluation: Evaluation) -> Values:
    """The mean of `values`, one a volume, in each resample.

    All calls with the same seed and number of volumes share their resamples, so two losses are compared on the same
    draws.
    """
    draws = np.random.default_rng(evaluation.seed).integers(
        len(values), size=(evaluation.bootstrap_iterations, len(values))
    )
    means: Values = values[draws].mean(axis=1)
    return means


def bootstrap_interval(values: Values, means: Values, evaluation: Evaluation) -> Interval:
    """The interval of the mean of `values` from their resampled `means`."""
    tails = np.array([(1 - evaluation.confidence) / 2, (1 + evaluation.confidence) / 2])
    corrected = _bca_tails(values, means, tails) if evaluation.bootstrap is BootstrapMethod.BCA else None
    low, high = np.quantile(means, tails if corrected is None else corrected)
    return Interval(
        mean=float(values.mean()),
        ci_low=float(low),
        ci_high=float(high),
        method=BootstrapMethod.PERCENTILE if corrected is None else BootstrapMethod.BCA,
    )


def _bca_tails(values: Values, means: Values, tails: Values) -> Values | None:
    """`tails` corrected for bias and acceleration (Efron 1987, equations 2.3 and 4.4; Efron & Tibshirani 1993, §14.3).

    None where that is not defined: all volumes agree, or all resampled means lie on one side of the mean.
    """
    mean = values.mean()
    share_below = (np.count_nonzero(means < mean) + np.count_nonzero(means <= mean)) / (2 * len(means))
    deviations = values - mean  # the jackknife's, but for a factor that cancels out
    spread = np.sum(deviations**2) ** 1.5
    if spread == 0 or not 0 < share_below < 1:
        return None
    acceleration = np.sum(deviations**3) / (6 * spread)
    bias = ndtri(share_below)
    shifted = bias + ndtri(tails)
    stretch = 1 - acceleration * shifted
    if np.any(stretch <= 0):
        return None
    corrected: Values = ndtr(bias + shifted / stretch)
    return corrected
