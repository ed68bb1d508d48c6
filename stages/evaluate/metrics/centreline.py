"""Overlap of centrelines: clDice (Shit et al. 2021, equations 1 to 3) on hard skeletons."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.morphology import skeletonize


def centreline_dsc(prediction_zyx: NDArray[np.bool_], reference_zyx: NDArray[np.bool_]) -> float | None:
    """clDice of two masks that both hold something; None when neither centreline touches the other mask (0/0).

    Topology precision |S(P) ∩ R| / |S(P)| and sensitivity |S(R) ∩ P| / |S(R)|, joined by their harmonic mean, with S
    the skeleton of Lee, Kashyap and Chu (1994), as MetricsReloaded has it.
    """
    precision = _share_within(skeleton(prediction_zyx), reference_zyx)
    sensitivity = _share_within(skeleton(reference_zyx), prediction_zyx)
    if precision + sensitivity == 0:
        return None
    return 2 * precision * sensitivity / (precision + sensitivity)


def skeleton(mask_zyx: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Centreline of `mask_zyx`; the mask itself in the case that thinning leaves nothing of it."""
    thin: Any = skeletonize  # scikit-image's types leave it out
    thinned: NDArray[np.bool_] = np.asarray(thin(mask_zyx, method="lee"), dtype=np.bool_)
    return thinned if thinned.any() else mask_zyx


def _share_within(centreline_zyx: NDArray[np.bool_], mask_zyx: NDArray[np.bool_]) -> float:
    return int(np.count_nonzero(centreline_zyx & mask_zyx)) / int(np.count_nonzero(centreline_zyx))
