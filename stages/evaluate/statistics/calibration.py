"""Whether a probability means what it says: of the voxels that get 0.7, are 70 % vessel?

Expected calibration error (Naeini et al. 2015; Guo et al. 2017), over voxels and for the probability of vessel: with
[0, 1] in BINS bins of equal width, ECE = Σ_b n_b / n · |mean probability_b - share of vessel_b|. Each bin holds its
lower end, the last one 1, too. A volume is condensed to three numbers a bin, which add up to those of a loss.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from stages.common.atomic import atomic_write
from stages.common.text import as_csv

BINS = 15
CALIBRATION_CSV = "calibration.csv"
CALIBRATION_VOLUMES_CSV = "calibration_volumes.csv"


@dataclass(frozen=True, kw_only=True)
class Reliability:
    """For each bin how many voxels are in it, the sum of their probabilities, and how many of them are vessel."""

    voxels: NDArray[np.int64]
    probability_sum: NDArray[np.float64]
    vessel_voxels: NDArray[np.int64]

    @classmethod
    def of(
        cls,
        probability_zyx: NDArray[np.float32],
        label_zyx: NDArray[np.bool_],
        labelled_zyx: NDArray[np.bool_] | None = None,
    ) -> Self:
        """Of one volume, slice by slice; of its labelled voxels alone where not all are."""
        voxels, vessel = np.zeros(BINS, dtype=np.int64), np.zeros(BINS, dtype=np.int64)
        total = np.zeros(BINS)
        for z, (probability_yx, label_yx) in enumerate(zip(probability_zyx, label_zyx, strict=True)):
            known = ... if labelled_zyx is None else labelled_zyx[z]
            values, label = probability_yx[known].ravel().astype(np.float64), label_yx[known]
            places = np.minimum((values * BINS).astype(np.intp), BINS - 1)
            voxels += np.bincount(places, minlength=BINS)
            total += np.bincount(places, weights=values, minlength=BINS)
            vessel += np.bincount(places[label.ravel()], minlength=BINS)
        return cls(voxels=voxels, probability_sum=total, vessel_voxels=vessel)

    @classmethod
    def pooled(cls, each: Sequence["Reliability"]) -> Self:
        """Of all voxels of several volumes: a large volume weighs more than a small one."""
        return cls(
            voxels=np.sum([one.voxels for one in each], axis=0),
            probability_sum=np.sum([one.probability_sum for one in each], axis=0),
            vessel_voxels=np.sum([one.vessel_voxels for one in each], axis=0),
        )

    @property
    def error(self) -> float:
        """The expected calibration error, 0 (calibrated) to 1."""
        return float(np.abs(self.probability_sum - self.vessel_voxels).sum() / self.voxels.sum())


@dataclass(frozen=True, kw_only=True)
class VolumeCalibration:
    """One volume under the network that never saw it."""

    loss: str
    fold: int
    id: str
    reliability: Reliability
    seed: int | None = None  # another one; None: training.seed


def pooled_by_loss(volumes: Sequence[VolumeCalibration]) -> dict[str, Reliability]:
    """Loss → the reliability over all its volumes, out of fold."""
    losses = dict.fromkeys(volume.loss for volume in volumes)
    return {
        loss: Reliability.pooled([volume.reliability for volume in volumes if volume.loss == loss]) for loss in losses
    }


def write_calibration(folder: Path, volumes: Sequence[VolumeCalibration], *, first_seed: int | None = None) -> None:
    """Write calibration.csv, a line per loss and bin that holds a voxel, and calibration_volumes.csv, a line per
    volume.
    """
    bins = [line for loss, found in pooled_by_loss(volumes).items() for line in _bins(loss, found)]
    _write(folder / CALIBRATION_CSV, bins)
    has_seeds = any(one.seed is not None for one in volumes)
    errors = [
        {"loss": one.loss, "fold": one.fold, "id": one.id, "calibration_error": one.reliability.error}
        | ({"seed": first_seed if one.seed is None else one.seed} if has_seeds else {})
        for one in volumes
    ]
    _write(folder / CALIBRATION_VOLUMES_CSV, errors)


def _bins(loss: str, found: Reliability) -> list[dict[str, Any]]:
    return [
        {
            "loss": loss,
            "probability_low": bin_ / BINS,
            "probability_high": (bin_ + 1) / BINS,
            "voxels": int(count),
            "mean_probability": float(found.probability_sum[bin_] / count),
            "vessel_share": float(found.vessel_voxels[bin_] / count),
            "calibration_error": found.error,
        }
        for bin_, count in enumerate(found.voxels)
        if count
    ]


def _write(file: Path, lines: Sequence[dict[str, Any]]) -> None:
    with atomic_write(file) as stream:
        stream.write(as_csv(list(lines[0]), lines))
