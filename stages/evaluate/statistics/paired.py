"""Which loss is better, and how sure that is: differences of means over the same volumes, by the paired bootstrap."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from stages.evaluate.params import Evaluation
from stages.evaluate.predict import Row
from stages.evaluate.statistics.bootstrap import Groups, bootstrap_interval, resampled_means

ByVolume = Mapping[tuple[int, str], Row]  # (fold, id) → its row under one loss


@dataclass(frozen=True, kw_only=True)
class Difference:
    """mean of `loss` − mean of `other` in one metric, over the volumes that both were measured on.

    `groups` is the number of independent ones among them. `p` is two-sided, `p_holm` the same corrected for the number
    of pairs of losses that are compared in this metric.
    """

    loss: str
    other: str
    metric: str
    volumes: int
    groups: int
    difference: float
    ci_low: float
    ci_high: float
    p: float
    p_holm: float


def compare_losses(rows: list[Row], evaluation: Evaluation) -> list[Difference]:
    """Every pair of losses in every metric, in the order in which the losses come; nothing where there is one loss."""
    by_loss = {
        loss: {(row.fold, row.id): row for row in rows if row.loss == loss}
        for loss in dict.fromkeys(row.loss for row in rows)
    }
    found: list[Difference] = []
    for metric in evaluation.metrics:
        pairs = [
            _compare(by_loss[loss], by_loss[other], metric, evaluation) for loss, other in combinations(by_loss, 2)
        ]
        corrected = holm([pair.p for pair in pairs])
        found += [replace(pair, p_holm=p) for pair, p in zip(pairs, corrected, strict=True)]
    return found


def _compare(loss: ByVolume, other: ByVolume, metric: str, evaluation: Evaluation) -> Difference:
    both = [(row, other[volume]) for volume, row in loss.items() if volume in other]
    differences = np.array([one.measurement.values[metric] - two.measurement.values[metric] for one, two in both])
    groups = [row.group for row, _ in both]
    low, high, p = bootstrap_difference(differences, evaluation, groups)
    return Difference(
        loss=both[0][0].loss,
        other=both[0][1].loss,
        metric=metric,
        volumes=len(differences),
        groups=len(set(groups)),
        difference=float(differences.mean()),
        ci_low=low,
        ci_high=high,
        p=p,
        p_holm=p,
    )


def bootstrap_difference(
    differences: NDArray[np.float64], evaluation: Evaluation, groups: Groups = None
) -> tuple[float, float, float]:
    """Bootstrap interval (low, high) of the mean of `differences`, one a volume, and its two-sided p.

    p is twice the share of resampled means on the far side of 0, counted with one more (Davison & Hinkley 1997, §4.2),
    so that it is never 0. Resamples of few groups know too little of what else could have been drawn: p is therefore
    never below 2^(1-n), the chance that n groups agree on a direction that does not exist (the sign test).
    """
    means = resampled_means(differences, evaluation, groups)
    interval = bootstrap_interval(differences, means, evaluation, groups)
    far = min(np.count_nonzero(means <= 0), np.count_nonzero(means >= 0))
    p = 2 * (far + 1) / (len(means) + 1)
    independent = len(differences) if groups is None else len(set(groups))
    return interval.ci_low, interval.ci_high, float(min(1.0, max(p, 2.0 ** (1 - independent))))


def holm(p_values: list[float]) -> list[float]:
    """The p-values corrected for their number by Holm's step-down method (1979), in the order given."""
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = largest
    return corrected
