"""One prediction against its label: every metric, with the rule that decided it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects

from stages.evaluate.metrics.centreline import centreline_dsc
from stages.evaluate.metrics.overlap import dsc
from stages.evaluate.metrics.rules import Rule, mask_rule
from stages.evaluate.metrics.surface import Spacing, border_points, diagonal, masd

METRICS = ("dsc", "centreline_dsc", "measured_masd_um", "measured_masd_voxels")
VOXELS: Spacing = (1.0, 1.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """The metrics of one volume; all finite. `rule` says which of them were set by convention (metrics/rules.py)."""

    dsc: float
    centreline_dsc: float
    measured_masd_um: float
    measured_masd_voxels: float
    predicted_voxels: int
    reference_voxels: int
    common_voxels: int
    rule: Rule


def measure(
    prediction_zyx: NDArray[np.bool_], reference_zyx: NDArray[np.bool_], spacing_um: Spacing, threads: int = 1
) -> Measurement:
    """Compare two boolean masks of one shape (z, y, x); `spacing_um` is z, y, x. `threads` changes the time only."""
    if prediction_zyx.shape != reference_zyx.shape:
        raise ValueError(f"masks of different shapes: {prediction_zyx.shape} and {reference_zyx.shape}")
    rule = mask_rule(prediction_zyx, reference_zyx)
    # what lies outside both masks changes no metric, and vessels fill a small part of some stacks
    box = _box_of_both(prediction_zyx, reference_zyx)
    prediction, reference = prediction_zyx[box], reference_zyx[box]
    centreline, rule = _centreline(prediction, reference, rule)
    masd_um, masd_voxels = _masd(prediction, reference, prediction_zyx.shape, spacing_um, threads, rule)
    return Measurement(
        dsc=dsc(prediction, reference),
        centreline_dsc=centreline,
        measured_masd_um=masd_um,
        measured_masd_voxels=masd_voxels,
        predicted_voxels=int(np.count_nonzero(prediction)),
        reference_voxels=int(np.count_nonzero(reference)),
        common_voxels=int(np.count_nonzero(prediction & reference)),
        rule=rule,
    )


def _centreline(prediction: NDArray[np.bool_], reference: NDArray[np.bool_], rule: Rule) -> tuple[float, Rule]:
    if rule is Rule.BOTH_EMPTY:
        return 1.0, rule
    if rule is not Rule.MEASURED:
        return 0.0, rule
    value = centreline_dsc(prediction, reference)
    return (0.0, Rule.CENTRELINES_DISJOINT) if value is None else (value, rule)


def _masd(
    prediction: NDArray[np.bool_],
    reference: NDArray[np.bool_],
    shape_zyx: tuple[int, ...],
    spacing_um: Spacing,
    threads: int,
    rule: Rule,
) -> tuple[float, float]:
    """MASD in µm and in voxels."""
    if rule is Rule.BOTH_EMPTY:
        return 0.0, 0.0
    if rule.masd_is_worst_case:
        return diagonal(shape_zyx, spacing_um), diagonal(shape_zyx, VOXELS)
    borders = border_points(prediction), border_points(reference)
    return masd(*borders, spacing_um, threads), masd(*borders, VOXELS, threads)


def _box_of_both(prediction_zyx: NDArray[np.bool_], reference_zyx: NDArray[np.bool_]) -> tuple[slice, ...]:
    found = find_objects((prediction_zyx | reference_zyx).view(np.uint8))
    return tuple(found[0]) if found else (slice(0, 1),) * 3
