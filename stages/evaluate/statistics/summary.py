"""Rows of volumes condensed to one interval per loss and metric."""

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from stages.common.metrics import METRICS
from stages.common.statistics.groups import group_means
from stages.common.statistics.results import Interval
from stages.evaluate.measure import Measurement
from stages.evaluate.params import Evaluation
from stages.evaluate.row import Row
from stages.evaluate.statistics.intervals import interval_of_mean

Summary = dict[str, dict[str, Interval]]  # loss → metric → interval


def summarise(rows: list[Row], evaluation: Evaluation) -> Summary:
    """Out-of-fold means over the groups of a loss; in a group a volume counts once for each fold that held it out.

    A mean runs over the volumes in which the metric could be measured; it is None if there is none.
    """
    return {
        loss: {
            metric: interval_of([row for row in rows if row.loss == loss], metric, evaluation.confidence)
            for metric in evaluation.metrics
        }
        for loss in dict.fromkeys(row.loss for row in rows)
    }


class Measured(Protocol):
    """A volume that was measured."""

    @property
    def group(self) -> str:
        """Whose it is."""

    @property
    def measurement(self) -> Measurement:
        """What was found."""


def interval_of(measured: Sequence[Measured], metric: str, confidence: float) -> Interval:
    """The mean over the groups of `measured`, None if the metric could be measured in no volume."""
    rows = [row for row in measured if not math.isnan(row.measurement.values[metric])]  # metrics/blocks.py
    if not rows:
        return Interval(mean=None, ci_low=None, ci_high=None)
    values = np.array([row.measurement.values[metric] for row in rows])
    means = group_means(values, [row.group for row in rows])
    return interval_of_mean(means, confidence, lowest=0.0, highest=METRICS[metric].highest)
