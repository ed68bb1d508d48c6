"""What evaluate finds out about losses, as it is written, kept with a training, and read again for a report."""

from dataclasses import dataclass
from enum import StrEnum

from stages.common.params import Finite, Params


class Interval(Params):
    """A mean over groups with its interval.

    The mean is None if the metric could be measured in no volume; the ends also below LEAST_GROUPS (groups.py).
    """

    mean: Finite | None
    ci_low: Finite | None
    ci_high: Finite | None


class Role(StrEnum):
    """What a metric's differences are good for."""

    PRIMARY = "primary"
    EXPLORATORY = "exploratory"


@dataclass(frozen=True, kw_only=True)
class Difference:
    """mean of `loss` − mean of `other` in one metric, over the groups of the volumes that both were measured on.

    `groups` is the number of independent values. `p` is two-sided, `p_smallest` what that number can give at best,
    `p_holm` is `p` corrected for the number of pairs of losses, in the primary metric. `effect_size` is the mean of the
    groups' differences by their standard deviation (Cohen's d_z), None if all agree. `detectable` is the size of a
    true difference that as many groups, as different as these, would find in four of five cases, in the primary
    metric. The ends of the interval are None if there are too few groups.
    """

    loss: str
    other: str
    metric: str
    role: Role
    volumes: int
    groups: int
    difference: float
    ci_low: float | None
    ci_high: float | None
    p: float
    p_smallest: float
    p_holm: float | None
    effect_size: float | None
    detectable: float | None
