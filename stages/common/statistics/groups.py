"""Volumes of one group (two fields of one animal) are alike: what is independent is the group, so each counts once."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

LEAST_GROUPS = 5  # below it no interval is given: see flips.py and stages/evaluate/statistics/intervals.py


def group_means(values: Values, groups: Sequence[str]) -> Values:
    """The mean of `values` (one per volume) in each of `groups` (the volume's), in the order of their first volumes.

    A volume that is there several times, under several seeds or folds, is averaged in that way, too.
    Raises ValueError if both are not of one length.
    """
    members: dict[str, list[float]] = {}
    for group, value in zip(groups, values, strict=True):
        members.setdefault(group, []).append(float(value))
    return np.array([np.mean(one) for one in members.values()])
