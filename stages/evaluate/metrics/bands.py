"""Thin, middle and thick vessels apart: in a mean over voxels a few thick ones hide all capillaries.

The radius of the label's centreline is its distance to the background, in µm. Each voxel of the label, and each of the
predicted centreline, belongs to the band of the nearest voxel of the label's centreline.
"""

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, generate_binary_structure

from stages.common.imaging.zyx import Spacing
from stages.evaluate.metrics.nearest import ROUNDING, Mask, nearest, points, search_tree

BANDS = ("thin", "middle", "thick")

_FACES = generate_binary_structure(3, 1)


@dataclass(frozen=True)
class BandCounts:
    """Voxels of one band: of the label, of it found; of the label's centreline, of it found; and of the predicted
    centreline, of it right.
    """

    label: int = 0
    label_found: int = 0
    line: int = 0
    line_found: int = 0
    predicted_line: int = 0
    predicted_line_right: int = 0

    @classmethod
    def pooled(cls, each: Sequence["BandCounts"]) -> Self:
        """Of several volumes: each voxel counts once."""
        return cls(*(sum(column) for column in zip(*map(astuple, each), strict=True)))

    @property
    def recall(self) -> float | None:
        """The share of the label's voxels that were found; None if it has none."""
        return self.label_found / self.label if self.label else None

    @property
    def centreline_dsc(self) -> float | None:
        """clDice of the band; None if the label has no centreline in it, 0 where nothing of either is met."""
        if not self.line:
            return None
        sensitivity = self.line_found / self.line
        precision = self.predicted_line_right / self.predicted_line if self.predicted_line else 0.0
        return 2 * precision * sensitivity / (precision + sensitivity) if precision + sensitivity else 0.0


def band_counts(
    masks: tuple[Mask, Mask],
    centrelines: tuple[Mask, Mask],
    spacing_um: Spacing,
    edges_um: Sequence[float],
    threads: int,
) -> tuple[BandCounts, ...]:
    """One for each of BANDS. `masks` and `centrelines`, zyx, are of the prediction and of the label."""
    (prediction, label), (predicted_line, line) = masks, centrelines
    if not line.any():
        return tuple(BandCounts() for _ in BANDS)
    edges = np.asarray(edges_um) * (1 - ROUNDING)  # a radius of 3 µm is one, wherever in the volume it is measured
    of_line = np.digitize(radii_um(label, line, spacing_um, threads), edges)
    tree = search_tree(line, spacing_um)

    def of(mask: Mask) -> NDArray[np.intp]:
        _, index = tree.query(points(mask) * np.asarray(spacing_um), workers=threads)
        found: NDArray[np.intp] = of_line[index]
        return found

    def count(bands: NDArray[np.intp], chosen: NDArray[np.bool_] | None = None) -> list[int]:
        numbers: list[int] = np.bincount(bands if chosen is None else bands[chosen], minlength=len(BANDS)).tolist()
        return numbers

    of_label, of_predicted = of(label), of(predicted_line)
    columns = (
        count(of_label),
        count(of_label, prediction[label]),
        count(of_line),
        count(of_line, prediction[line]),
        count(of_predicted),
        count(of_predicted, label[predicted_line]),
    )
    return tuple(BandCounts(*each) for each in zip(*columns, strict=True))


def radii_um(mask: Mask, line: Mask, spacing_um: Spacing, threads: int) -> NDArray[np.float64]:
    """Of each voxel of `line`, in its order, the distance to the nearest voxel of the background of `mask`.

    What is beyond the volume is unknown and bounds no vessel. Infinite if there is no background.
    """
    outside = binary_dilation(mask, _FACES) & ~mask
    if not outside.any():
        return np.full(np.count_nonzero(line), np.inf)
    return nearest(line, outside, spacing_um, threads)
