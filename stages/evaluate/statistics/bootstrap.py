"""How sure a mean over volumes is: the bootstrap over volumes (Efron 1979), its percentile and its BCa interval.

Volumes of one group (two fields of one animal) are alike, so groups are drawn, each with all its volumes: the cluster
bootstrap (Davison & Hinkley 1997, §3.8; Field & Welsh 2007). Where every volume is its own group that is Efron's.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from stages.evaluate.params import BootstrapMethod, Evaluation

Values = NDArray[np.float64]
Groups = Sequence[str] | None  # the group of each volume; None: each is its own


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean over volumes with its bootstrap interval; both ends are the mean itself where there is one group.

    `method` is the one asked for, or percentile where BCa is not defined.
    """

    mean: float
    ci_low: float
    ci_high: float
    method: BootstrapMethod


def bootstrap_intervals(values: Values, evaluation: Evaluation, groups: Groups = None) -> list[Interval]:
    """One interval a column of `values` (volumes, metrics)."""
    # one at a time: what is gathered is iterations × groups
    return [
        bootstrap_interval(column, resampled_means(column, evaluation, groups), evaluation, groups)
        for column in values.T
    ]


def resampled_means(values: Values, evaluation: Evaluation, groups: Groups = None) -> Values:
    """The mean of `values`, one a volume, in each resample: of all volumes of as many groups as there are, drawn with
    replacement.

    All calls with the same seed and number of groups share their resamples, so two losses are compared on the same
    draws. Raises ValueError where `groups` and `values` are not of one length.
    """
    sums, sizes = _totals(values, groups)
    draws = np.random.default_rng(evaluation.seed).integers(
        len(sums), size=(evaluation.bootstrap_iterations, len(sums))
    )
    means: Values = sums[draws].sum(axis=1) / sizes[draws].sum(axis=1)
    return means


def bootstrap_interval(values: Values, means: Values, evaluation: Evaluation, groups: Groups = None) -> Interval:
    """The interval of the mean of `values`, one a volume, from their resampled `means`."""
    tails = np.array([(1 - evaluation.confidence) / 2, (1 + evaluation.confidence) / 2])
    corrected = _bca_tails(values, groups, means, tails) if evaluation.bootstrap is BootstrapMethod.BCA else None
    low, high = np.quantile(means, tails if corrected is None else corrected)
    return Interval(
        mean=float(values.mean()),
        ci_low=float(low),
        ci_high=float(high),
        method=BootstrapMethod.PERCENTILE if corrected is None else BootstrapMethod.BCA,
    )


def _totals(values: Values, groups: Groups) -> tuple[Values, NDArray[np.intp]]:
    """Sum of `values` and number of volumes of each group, in the order in which groups first come."""
    if groups is None:
        return values, np.ones(len(values), dtype=np.intp)
    members: dict[str, list[float]] = {}
    for group, value in zip(groups, values, strict=True):
        members.setdefault(group, []).append(value)
    return np.array([np.sum(one) for one in members.values()]), np.array([len(one) for one in members.values()])


def _jackknife_deviations(values: Values, groups: Groups) -> Values:
    """The means that leave out one group at a time, subtracted from their own mean; but for a factor common to all."""
    sums, sizes = _totals(values, groups)
    if len(sums) == 1:
        return np.zeros(1)
    left: Values = (sums.sum() - sums) / (sizes.sum() - sizes)
    # where each volume is its own group the difference is (value - mean) / (volumes - 1)
    deviations: Values = values - values.mean() if len(sums) == len(values) else left.mean() - left
    return deviations


def _bca_tails(values: Values, groups: Groups, means: Values, tails: Values) -> Values | None:
    """`tails` corrected for bias and acceleration (Efron 1987, equations 2.3 and 4.4; Efron & Tibshirani 1993, §14.3).

    None where that is not defined: all volumes agree, there is one group, or all resampled means lie on one side of the
    mean.
    """
    mean = values.mean()
    share_below = (np.count_nonzero(means < mean) + np.count_nonzero(means <= mean)) / (2 * len(means))
    deviations = _jackknife_deviations(values, groups)  # their factor cancels out
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
