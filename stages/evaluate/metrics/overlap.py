"""Overlap of volumes: the Dice similarity coefficient (Dice 1945)."""

import numpy as np
from numpy.typing import NDArray


def dsc(prediction_zyx: NDArray[np.bool_], reference_zyx: NDArray[np.bool_]) -> float:
    """DSC = 2·|P ∩ R| / (|P| + |R|), from 0 to 1; 1 when both masks are empty."""
    size = int(np.count_nonzero(prediction_zyx)) + int(np.count_nonzero(reference_zyx))
    return 2 * int(np.count_nonzero(prediction_zyx & reference_zyx)) / size if size else 1.0
