"""The means of one cell: over the groups of the volumes that it held out."""

import numpy as np

from stages.common.registered.trainings.training import Cell, Training
from stages.common.statistics.groups import group_means


def fold_means(training: Training, cell: Cell) -> dict[str, float]:
    """Metric → mean of `cell`, without metrics that could not be measured."""
    rows = [one for one in training.volumes if (one.fold, one.seed) == (cell.fold, cell.seed)]
    means = {}
    for metric in training.metrics:
        known = [(value, row.group) for row in rows if (value := row.values.get(metric)) is not None]
        if known:
            values, groups = zip(*known, strict=True)
            means[metric] = float(group_means(np.array(values), groups).mean())
    return means
