"""One prediction against its label: the metrics that were asked for, with the rule that decided them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy.ndimage import find_objects

from stages.common.imaging.zyx import Spacing
from stages.evaluate.metrics.bands import BANDS, BandCounts
from stages.evaluate.metrics.blocks import labelled_blocks, telling, weighted_mean
from stages.evaluate.metrics.nearest import Mask
from stages.evaluate.metrics.overlap import dsc
from stages.evaluate.metrics.pair import Pair
from stages.evaluate.metrics.rules import Rule, mask_rule

Whole = Callable[[Mask, Mask], "Measurement"]


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """The metrics of one volume. `rule` says which of them were set by convention (metrics/rules.py).

    All finite where every voxel is labelled. Else all that counts is counted over the `labelled_share` of the voxels,
    and what needs blocks of labelled voxels is NaN if there is none (metrics/blocks.py).
    """

    values: Mapping[str, float]  # metric → value, in the order asked for
    predicted_voxels: int
    reference_voxels: int
    common_voxels: int
    rule: Rule
    bands: tuple[BandCounts, ...]  # thin, middle and thick vessels
    labelled_share: float = 1.0


def measure(
    prediction_zyx: Mask,
    reference_zyx: Mask,
    spacing_um: Spacing,
    *,
    metrics: Sequence[str],
    nsd_tolerance_um: float,
    radius_bands_um: Sequence[float],
    threads: int = 1,
    labelled_zyx: Mask | None = None,
) -> Measurement:
    """Compare two boolean masks of one shape (z, y, x); `spacing_um` is z, y, x. `threads` changes the time only.

    `labelled_zyx` are the voxels that somebody labelled, None: all.
    """
    if prediction_zyx.shape != reference_zyx.shape:
        raise ValueError(f"masks of different shapes: {prediction_zyx.shape} and {reference_zyx.shape}")
    whole = partial(
        _measure_whole,
        spacing_um=spacing_um,
        metrics=metrics,
        nsd_tolerance_um=nsd_tolerance_um,
        radius_bands_um=radius_bands_um,
        threads=threads,
    )
    if labelled_zyx is None:
        return whole(prediction_zyx, reference_zyx)
    return _measure_labelled(prediction_zyx & labelled_zyx, reference_zyx & labelled_zyx, labelled_zyx, whole, metrics)


def _measure_labelled(
    prediction_zyx: Mask, reference_zyx: Mask, labelled_zyx: Mask, whole: Whole, metrics: Sequence[str]
) -> Measurement:
    blocks = telling(labelled_blocks(labelled_zyx), (prediction_zyx, reference_zyx))
    each = [whole(prediction_zyx[box], reference_zyx[box]) for box in blocks]
    return Measurement(
        values={
            name: dsc(prediction_zyx, reference_zyx)
            if name == "dsc"
            else weighted_mean([one.values[name] for one in each], blocks)
            for name in metrics
        },
        predicted_voxels=int(np.count_nonzero(prediction_zyx)),
        reference_voxels=int(np.count_nonzero(reference_zyx)),
        common_voxels=int(np.count_nonzero(prediction_zyx & reference_zyx)),
        rule=mask_rule(prediction_zyx, reference_zyx),
        bands=tuple(map(BandCounts.pooled, zip(*(one.bands for one in each), strict=True)))
        or tuple(BandCounts() for _ in BANDS),
        labelled_share=np.count_nonzero(labelled_zyx) / labelled_zyx.size,
    )


def _measure_whole(
    prediction_zyx: Mask,
    reference_zyx: Mask,
    *,
    spacing_um: Spacing,
    metrics: Sequence[str],
    nsd_tolerance_um: float,
    radius_bands_um: Sequence[float],
    threads: int,
) -> Measurement:
    # what is outside both masks changes no metric, and vessels fill a small part of some stacks
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
