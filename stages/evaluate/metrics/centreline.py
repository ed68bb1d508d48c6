"""Overlap of centrelines: clDice (Shit et al. 2021, equations 1 to 3) on hard skeletons."""

import numpy as np
from numpy.typing import NDArray


def centreline_dsc(
    prediction_zyx: NDArray[np.bool_],
    reference_zyx: NDArray[np.bool_],
    prediction_centreline: NDArray[np.bool_],
    reference_centreline: NDArray[np.bool_],
) -> float | None:
    """clDice of two masks that both hold something; None when neither centreline touches the other mask (0/0).

    Topology precision |S(P) ∩ R| / |S(P)| and sensitivity |S(R) ∩ P| / |S(R)|, joined by their harmonic mean, with S
    the centreline of stages/common/imaging/masks/skeleton.py.
    """
    precision = _share_within(prediction_centreline, reference_zyx)
    sensitivity = _share_within(reference_centreline, prediction_zyx)
    if precision + sensitivity == 0:
        return None
    return 2 * precision * sensitivity / (precision + sensitivity)


def _share_within(centreline_zyx: NDArray[np.bool_], mask_zyx: NDArray[np.bool_]) -> float:
    return int(np.count_nonzero(centreline_zyx & mask_zyx)) / int(np.count_nonzero(centreline_zyx))
