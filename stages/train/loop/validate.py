"""Validation while training: the Dice coefficient of whole volumes, by sliding window."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from stages.common.inference import predict_probability
from stages.common.volumes import Volume

# a watch on the training, not its result: that is evaluate's, with evaluation.overlap and evaluation.threshold
OVERLAP = 0.25
THRESHOLD = 0.5


def validation_dsc(
    network: torch.nn.Module,
    volumes: list[Volume],
    patch_voxels: tuple[int, int, int],
    autocast_dtype: torch.dtype | None,
    between_volumes: Callable[[], None],
) -> float:
    """Mean Dice over `volumes`. `between_volumes` is called before each one and may raise to stop."""
    scores = []
    for volume in volumes:
        between_volumes()
        probability_zyx = predict_probability(
            network, volume.image(), patch_voxels, OVERLAP, autocast_dtype=autocast_dtype
        )
        scores.append(dice(probability_zyx > THRESHOLD, volume.label() > 0))
    return float(np.mean(scores))


def dice(predicted: NDArray[np.bool_], true: NDArray[np.bool_]) -> float:
    """Dice coefficient of two masks (Dice 1945), 1 where both are empty."""
    total = int(predicted.sum()) + int(true.sum())
    return 2 * int((predicted & true).sum()) / total if total else 1.0
