"""One prediction against its label: the metrics that were asked for, with the rule that decided them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import find_objects

from stages.evaluate.metrics.bands import BandCounts
from stages.evaluate.metrics.nearest import Mask, Spacing
from stages.evaluate.metrics.pair import Pair
from stages.evaluate.metrics.rules import Rule


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """The metrics of one volume; all finite. `rule` says which of them were set by convention (metrics/rules.py)."""

    values: Mapping[str, float]  # metric → value, in the order asked for
    predicted_voxels: int
    reference_voxels: int
    common_voxels: int
    rule: Rule
    bands: tuple[BandCounts, ...]  # thin, middle and thick vessels


def measure(
    prediction_zyx: Mask,
    reference_zyx: Mask,
    spacing_um: Spacing,
    *,
    metrics: Sequence[str],
    nsd_tolerance_um: float,
    radius_bands_um: Sequence[float],
    threads: int = 1,
) -> Measurement:
    """Compare two boolean masks of one shape (z, y, x); `spacing_um` is z, y, x. `threads` changes the time only."""
    if prediction_zyx.shape != reference_zyx.shape:
        raise ValueError(f"masks of different shapes: {prediction_zyx.shape} and {reference_zyx.shape}")
    # what lies outside both masks changes no metric, and vessels fill a small part of some stacks
    box = _box_of_both(prediction_zyx, reference_zyx)
    pair = Pair(
        prediction=np.ascontiguousarray(prediction_zyx[box]),
        reference=np.ascontiguousarray(reference_zyx[box]),
        volume_shape=prediction_zyx.shape,
        spacing_um=spacing_um,
        nsd_tolerance_um=nsd_tolerance_um,
        threads=threads,
    )
    values = {metric: MEASURES[metric](pair) for metric in metrics}
    return Measurement(
        values=values,
        predicted_voxels=int(np.count_nonzero(pair.prediction)),
        reference_voxels=int(np.count_nonzero(pair.reference)),
        common_voxels=int(np.count_nonzero(pair.prediction & pair.reference)),
        rule=pair.final_rule if "centreline_dsc" in values else pair.rule,
        bands=pair.bands(radius_bands_um),
    )


def _box_of_both(prediction_zyx: Mask, reference_zyx: Mask) -> tuple[slice, ...]:
    found = find_objects((prediction_zyx | reference_zyx).view(np.uint8))
    if not found:
        return (slice(0, 1),) * 3
    # with the background that bounds them, where the volume has some
    return tuple(slice(max(side.start - 1, 0), side.stop + 1) for side in found[0])


# one for each of stages/common/metrics.py
MEASURES: Mapping[str, Callable[[Pair], float]] = {
    "dsc": Pair.dsc,
    "centreline_dsc": Pair.centreline_dsc,
    "measured_masd_um": Pair.masd_um,
    "measured_masd_voxels": Pair.masd_voxels,
    "hd95_um": Pair.hd95_um,
    "nsd": Pair.nsd,
    "betti_0_error": Pair.betti_0_error,
    "betti_1_error": Pair.betti_1_error,
}
