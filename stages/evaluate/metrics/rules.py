"""Which rule decides a volume's metrics. No volume is ever left out of a mean: every case has a finite value.

| rule                 | DSC      | centreline DSC | MASD, HD95            | NSD      | Betti errors |
|----------------------|----------|----------------|-----------------------|----------|--------------|
| measured             | measured | measured       | measured              | measured | measured     |
| both_empty           | 1        | 1              | 0                     | 1        | 0            |
| prediction_empty     | 0        | 0              | the volume's diagonal | 0        | measured     |
| reference_empty      | 0        | 0              | the volume's diagonal | 0        | measured     |
| disjoint             | 0        | 0              | measured              | measured | measured     |
| centrelines_disjoint | measured | 0              | measured              | measured | measured     |

MetricsReloaded gives NaN or an error in most of these cases, and a mean over what is left flatters the model that
predicts nothing. The diagonal is the largest distance that fits into the volume: the worst that a distance could be.
An empty mask has Betti numbers like any other, all of them 0.
"""

from enum import StrEnum

import numpy as np
from numpy.typing import NDArray


class Rule(StrEnum):
    """The case that a volume falls under; the table above says what it means."""

    MEASURED = "measured"
    BOTH_EMPTY = "both_empty"
    PREDICTION_EMPTY = "prediction_empty"
    REFERENCE_EMPTY = "reference_empty"
    DISJOINT = "disjoint"
    CENTRELINES_DISJOINT = "centrelines_disjoint"

    @property
    def distance_is_worst_case(self) -> bool:
        """Whether MASD and HD95 are the volume's diagonal instead of a measurement."""
        return self in {Rule.PREDICTION_EMPTY, Rule.REFERENCE_EMPTY}


def mask_rule(prediction_zyx: NDArray[np.bool_], reference_zyx: NDArray[np.bool_]) -> Rule:
    """The rule that the two masks (boolean, zyx, one shape) fall under, as far as it shows without centrelines."""
    has_prediction, has_reference = bool(prediction_zyx.any()), bool(reference_zyx.any())
    if not has_prediction and not has_reference:
        return Rule.BOTH_EMPTY
    if not has_prediction:
        return Rule.PREDICTION_EMPTY
    if not has_reference:
        return Rule.REFERENCE_EMPTY
    return Rule.MEASURED if (prediction_zyx & reference_zyx).any() else Rule.DISJOINT
