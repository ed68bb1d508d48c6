"""Overlap of centrelines: clDice (Shit et al. 2021, equations 1 to 3) on hard skeletons."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.morphology import skeletonize


def centreline_dsc(
    prediction_zyx: NDArray[np.bool_],
    reference_zyx: NDArray[np.bool_],
    prediction_centreline: NDArray[np.bool_],
    reference_centreline: NDArray[np.bool_],
) -> float | None:
    """clDice of two masks that both hold something; None when neither centreline touches the other mask (0/0).

    Topology precision |S(P) ∩ R| / |S(P)| and sensitivity |S(R) ∩ P| / |S(R)|, joined by their harmonic mean, with S
    the skeleton of Lee, Kashyap and Chu (1994), as MetricsReloaded has it.
    """
    precision = _share_within(prediction_centreline, reference_zyx)
    sensitivity = _share_within(reference_centreline, prediction_zyx)
    if precision + sensitivity == 0:
        return None
    return 2 * precision * sensitivity / (precision + sensitivity)


def skeleton(mask_zyx: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Centreline of `mask_zyx`; the mask itself in the case that thinning leaves nothing of it."""
    thinned = _thin_box(mask_zyx.shape) if mask_zyx.all() else _thin(mask_zyx)
    return thinned if thinned.any() else mask_zyx


def _thin_box(shape_zyx: tuple[int, ...]) -> NDArray[np.bool_]:
    """The centreline of a volume that is foreground throughout, as a network that learnt nothing predicts it.

    Thinning takes one layer after the other off a solid box until its shortest side is 2 or 3, and looks at every voxel
    of the volume for each: that is done by arithmetic, which takes a 512×512×50 volume from 20 s to less than one.
    """
    layers = max((min(shape_zyx) - 2) // 2, 0)
    core = np.ones([side - 2 * layers for side in shape_zyx], dtype=np.bool_)
    return np.pad(_thin(core), layers)


def _thin(mask_zyx: NDArray[np.bool_]) -> NDArray[np.bool_]:
    thin: Any = skeletonize  # scikit-image's types leave it out
    return np.asarray(thin(mask_zyx, method="lee"), dtype=np.bool_)


def _share_within(centreline_zyx: NDArray[np.bool_], mask_zyx: NDArray[np.bool_]) -> float:
    return int(np.count_nonzero(centreline_zyx & mask_zyx)) / int(np.count_nonzero(centreline_zyx))
