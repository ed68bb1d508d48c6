"""Rows of volumes condensed to one interval a loss and metric."""

import numpy as np

from stages.evaluate.params import Evaluation
from stages.evaluate.predict import Row
from stages.evaluate.statistics.bootstrap import Interval, bootstrap_intervals

Summary = dict[str, dict[str, Interval]]  # loss → metric → interval


def summarise(rows: list[Row], evaluation: Evaluation) -> Summary:
    """Out-of-fold means over all volumes of a loss: a volume counts once for each fold that held it out."""
    summary: Summary = {}
    for loss in dict.fromkeys(row.loss for row in rows):
        of_loss = [row for row in rows if row.loss == loss]
        values = np.array([[row.measurement.values[metric] for metric in evaluation.metrics] for row in of_loss])
        intervals = bootstrap_intervals(values, evaluation, [row.group for row in of_loss])
        summary[loss] = dict(zip(evaluation.metrics, intervals, strict=True))
    return summary
