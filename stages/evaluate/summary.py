"""Rows of volumes condensed to one interval a loss and metric."""

import numpy as np

from stages.evaluate.bootstrap import Interval, bootstrap_intervals
from stages.evaluate.measure import METRICS
from stages.evaluate.params import Evaluation
from stages.evaluate.predict import Row

Summary = dict[str, dict[str, Interval]]  # loss → metric → interval


def summarise(rows: list[Row], evaluation: Evaluation) -> Summary:
    """Out-of-fold means over all volumes of a loss: a volume counts once for each fold that held it out."""
    summary: Summary = {}
    for loss in dict.fromkeys(row.loss for row in rows):
        values = np.array(
            [[getattr(row.measurement, metric) for metric in METRICS] for row in rows if row.loss == loss]
        )
        intervals = bootstrap_intervals(
            values,
            iterations=evaluation.bootstrap_iterations,
            confidence=evaluation.confidence,
            seed=evaluation.seed,
        )
        summary[loss] = dict(zip(METRICS, intervals, strict=True))
    return summary
