"""Which loss is better, and how sure that is: differences on the same volumes, one number per group.

One metric is primary, the first of params.yaml's `evaluation.metrics`: for it the pairs of losses are corrected for
their number (Holm 1979). Whoever looks at eight metrics finds some difference somewhere: the others are exploratory,
not corrected, and said to be so.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from itertools import combinations

import numpy as np
from scipy.optimize import brentq
from scipy.special import nctdtr, stdtrit

from stages.common.statistics.flips import flip_test
from stages.common.statistics.groups import LEAST_GROUPS, Values, group_means
from stages.common.statistics.results import Difference, Role
from stages.evaluate.params import Evaluation
from stages.evaluate.row import Row

POWER = 0.8

ByVolume = Mapping[tuple[int, str], Row]  # (fold, id) → its row under one loss


def compare_losses(rows: list[Row], evaluation: Evaluation) -> list[Difference]:
    """Every pair of losses in every metric, in the order in which the losses come; nothing if there is one loss.

    A pair without a volume that both were measured on has nothing to compare.
    """
    by_loss = {
        loss: {(row.fold, row.id): row for row in rows if row.loss == loss}
        for loss in dict.fromkeys(row.loss for row in rows)
    }
    pairs = [(loss, other) for loss, other in combinations(by_loss, 2) if by_loss[loss].keys() & by_loss[other].keys()]
    primary, *others = (
        [
            _compare(by_loss[loss], by_loss[other], metric, evaluation)
            for loss, other in pairs
            if _common(by_loss[loss], by_loss[other], metric)
        ]
        for metric in evaluation.metrics
    )
    corrected = holm([pair.p for pair in primary])
    found = [replace(pair, role=Role.PRIMARY, p_holm=p) for pair, p in zip(primary, corrected, strict=True)]
    return found + [replace(pair, detectable=None) for metric in others for pair in metric]


def _compare(loss: ByVolume, other: ByVolume, metric: str, evaluation: Evaluation) -> Difference:
    both = _common(loss, other, metric)
    by_volume = np.array([one.measurement.values[metric] - two.measurement.values[metric] for one, two in both])
    differences = group_means(by_volume, [row.group for row, _ in both])
    test = flip_test(differences, evaluation.confidence, draws=evaluation.bootstrap_iterations, seed=evaluation.seed)
    return Difference(
        loss=both[0][0].loss,
        other=both[0][1].loss,
        metric=metric,
        role=Role.EXPLORATORY,
        volumes=len(by_volume),
        groups=len(differences),
        difference=float(differences.mean()),
        ci_low=test.ci_low,
        ci_high=test.ci_high,
        p=test.p,
        p_smallest=test.p_smallest,
        p_holm=None,
        effect_size=_effect_size(differences),
        detectable=detectable_difference(differences, 1 - evaluation.confidence),
    )


def _common(loss: ByVolume, other: ByVolume, metric: str) -> list[tuple[Row, Row]]:
    """The rows of the volumes that both have, and in which the metric could be measured under both."""
    pairs = [(row, other[volume]) for volume, row in loss.items() if volume in other]
    return [pair for pair in pairs if not any(math.isnan(row.measurement.values[metric]) for row in pair)]


def _effect_size(differences: Values) -> float | None:
    spread = float(differences.std(ddof=1)) if len(differences) > 1 else 0.0
    return float(differences.mean()) / spread if spread > 0 else None


def detectable_difference(differences: Values, significance: float) -> float | None:
    """The true difference that a two-sided paired t test would find with a probability of POWER, had its values the
    spread of `differences`; None if they have none, and below LEAST_GROUPS.

    The sign-flip test finds nearly the same as that t test where differences are near to normal.
    """
    groups = len(differences)
    spread = float(differences.std(ddof=1)) if groups >= LEAST_GROUPS else 0.0
    if spread == 0:
        return None
    critical = float(stdtrit(groups - 1, 1 - significance / 2))

    def power(standardised: float) -> float:
        # of the far tail next to nothing is left where the power is that high
        return float(1 - nctdtr(groups - 1, standardised * np.sqrt(groups), critical))

    most = 1.0
    while power(most) < POWER:
        most *= 2
    return spread * float(brentq(lambda standardised: power(standardised) - POWER, 0.0, most))


def holm(p_values: list[float]) -> list[float]:
    """The p-values corrected for their number by Holm's step-down method (1979), in the order given."""
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = largest
    return corrected
