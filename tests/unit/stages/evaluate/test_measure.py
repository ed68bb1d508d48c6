"""The metrics against brute force, hand-computed cases and invariances."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.common.imaging.masks.skeleton import skeleton
from stages.common.metrics import METRICS
from stages.evaluate.measure import MEASURES, Measurement
from stages.evaluate.measure import measure as measure_metrics
from stages.evaluate.metrics.rules import Rule
from tests.unit.stages.evaluate.masks import Mask, ball, brute_distances, brute_percentile, line, mask_pairs, spacings

SPACING = (5.0, 0.5, 1.0)
TOLERANCE_UM = 1.0
DISTANCES = ("measured_masd_um", "measured_masd_voxels", "hd95_um")


def measure(prediction: Mask, reference: Mask, spacing_um: tuple[float, float, float], threads: int = 1) -> Measurement:
    """Every metric, NSD at a tolerance of 1 µm."""
    return measure_metrics(
        prediction,
        reference,
        spacing_um,
        metrics=tuple(METRICS),
        nsd_tolerance_um=TOLERANCE_UM,
        radius_bands_um=(1.0, 2.0),
        threads=threads,
    )


@settings(max_examples=150, deadline=None)
@given(masks=mask_pairs(), spacing=spacings)
def test_metrics_equal_brute_force_and_are_finite_and_in_range(
    masks: tuple[Mask, Mask], spacing: tuple[float, float, float]
) -> None:
    """On any two masks: DSC from sets of voxels, clDice from its definition, distances over all pairs of borders.

    No pair of masks, however odd, gives NaN: overlaps are in [0, 1], distances within the volume's diagonal.
    """
    prediction, reference = masks
    found = measure(prediction, reference, spacing)
    _refuse_impossible(found, prediction.shape, spacing)
    voxels = [set(map(tuple, np.argwhere(mask))) for mask in masks]
    size = len(voxels[0]) + len(voxels[1])
    assert found.values["dsc"] == pytest.approx(2 * len(voxels[0] & voxels[1]) / size if size else 1.0)
    assert (found.predicted_voxels, found.reference_voxels) == (len(voxels[0]), len(voxels[1]))
    assert found.common_voxels == len(voxels[0] & voxels[1])
    if not (prediction.any() and reference.any()):
        return
    there, back = brute_distances(prediction, reference, spacing)
    assert found.values["measured_masd_um"] == pytest.approx((np.mean(there) + np.mean(back)) / 2)
    assert found.values["hd95_um"] == pytest.approx(max(brute_percentile(there, 95), brute_percentile(back, 95)))
    near = sum(distance <= TOLERANCE_UM for distance in there + back)
    assert found.values["nsd"] == pytest.approx(near / len(there + back))
    there, back = brute_distances(prediction, reference, (1, 1, 1))
    assert found.values["measured_masd_voxels"] == pytest.approx((np.mean(there) + np.mean(back)) / 2)
    lines = [set(map(tuple, np.argwhere(skeleton(mask)))) for mask in masks]
    precision, sensitivity = len(lines[0] & voxels[1]) / len(lines[0]), len(lines[1] & voxels[0]) / len(lines[1])
    total = precision + sensitivity
    assert found.values["centreline_dsc"] == pytest.approx(2 * precision * sensitivity / total if total else 0.0)


def _refuse_impossible(found: Measurement, shape: tuple[int, ...], spacing: tuple[float, float, float]) -> None:
    diagonal = math.hypot(*(size * step for size, step in zip(shape, spacing, strict=True)))
    assert 0 <= found.values["dsc"] <= 1
    assert 0 <= found.values["centreline_dsc"] <= 1
    assert 0 <= found.values["nsd"] <= 1
    assert all(np.isfinite(list(found.values.values())))
    assert found.values["betti_0_error"] >= 0 <= found.values["betti_1_error"]
    assert 0 <= found.values["measured_masd_um"] <= diagonal * (1 + 1e-12)
    assert 0 <= found.values["hd95_um"] <= diagonal * (1 + 1e-12)
    assert 0 <= found.values["measured_masd_voxels"] <= math.hypot(*shape) * (1 + 1e-12)


@settings(max_examples=30, deadline=None)
@given(masks=mask_pairs(), spacing=spacings)
def test_swapping_the_masks_changes_no_metric(masks: tuple[Mask, Mask], spacing: tuple[float, float, float]) -> None:
    """All metrics are symmetric."""
    there, back = measure(*masks, spacing), measure(*masks[::-1], spacing)
    for metric in METRICS:
        assert there.values[metric] == pytest.approx(back.values[metric])


@settings(max_examples=30, deadline=None)
@given(masks=mask_pairs(), margin=st.integers(1, 3), spacing=spacings)
def test_background_around_the_masks_changes_no_measurement(
    masks: tuple[Mask, Mask], margin: int, spacing: tuple[float, float, float]
) -> None:
    """A larger volume with the same vessels gives the same numbers, except where the diagonal is the rule."""
    plain = measure(*masks, spacing)
    first, second = (np.pad(mask, margin) for mask in masks)
    padded = measure(first, second, spacing)
    assert padded.rule is plain.rule
    for metric in [name for name in METRICS if not (plain.rule.distance_is_worst_case and name in DISTANCES)]:
        assert padded.values[metric] == pytest.approx(plain.values[metric])


@settings(max_examples=30, deadline=None)
@given(masks=mask_pairs(), factor=st.sampled_from([0.5, 3.0]), spacing=spacings)
def test_masd_scales_with_the_spacing(
    masks: tuple[Mask, Mask], factor: float, spacing: tuple[float, float, float]
) -> None:
    """Micrometres follow the voxel size; voxels do not."""
    z, y, x = (factor * step for step in spacing)
    one, scaled = measure(*masks, spacing), measure(*masks, (z, y, x))
    assert scaled.values["measured_masd_um"] == pytest.approx(factor * one.values["measured_masd_um"])
    assert scaled.values["measured_masd_voxels"] == pytest.approx(one.values["measured_masd_voxels"])


@settings(max_examples=40, deadline=None)
@given(masks=mask_pairs())
def test_a_mask_against_itself_is_perfect(masks: tuple[Mask, Mask]) -> None:
    """Equal masks: overlaps 1, distances and errors 0, be they empty or full."""
    found = measure(masks[0], masks[0].copy(), SPACING)
    assert found.values == {name: 0 if metric.less_is_better else 1 for name, metric in METRICS.items()}


@settings(max_examples=30, deadline=None)
@given(masks=mask_pairs(), axes=st.permutations([0, 1, 2]), flipped=st.sets(st.integers(0, 2)), spacing=spacings)
def test_turned_and_mirrored_volumes_measure_the_same(
    masks: tuple[Mask, Mask], axes: list[int], flipped: set[int], spacing: tuple[float, float, float]
) -> None:
    """Axes in another order with their spacings, or run through backwards, change nothing but the centrelines.

    Thinning goes through its directions in a fixed order, so a centreline may lie a voxel elsewhere in a mirror image.
    """
    one = measure(*masks, spacing)
    z, y, x = (spacing[axis] for axis in axes)
    first, second = (np.flip(mask, tuple(flipped)).transpose(axes) for mask in masks)
    turned = measure(first, second, (z, y, x))
    for metric in [name for name in METRICS if name != "centreline_dsc"]:
        assert turned.values[metric] == pytest.approx(one.values[metric])


@settings(max_examples=40, deadline=None)
@given(masks=mask_pairs(), metrics=st.sets(st.sampled_from(list(METRICS)), min_size=1))
def test_a_metric_is_the_same_alone_and_among_others(masks: tuple[Mask, Mask], metrics: set[str]) -> None:
    """What is shared between metrics changes none of them; the order asked for is the order given."""
    some = measure_metrics(
        *masks, SPACING, metrics=sorted(metrics), nsd_tolerance_um=TOLERANCE_UM, radius_bands_um=(1.0, 2.0)
    )
    every = measure(*masks, SPACING)
    assert list(some.values.items()) == [(name, every.values[name]) for name in sorted(metrics)]


def test_what_is_measured_is_what_may_be_asked_for() -> None:
    """Every metric that has a name has a measure, and no other."""
    assert list(MEASURES) == list(METRICS)


def test_the_number_of_threads_changes_nothing() -> None:
    """Bit for bit the same, whatever the threads."""
    rng = np.random.default_rng(0)
    masks = rng.random((9, 60, 60)) < 0.2, rng.random((9, 60, 60)) < 0.2
    assert measure(*masks, SPACING, threads=1) == measure(*masks, SPACING, threads=2)


def test_two_parallel_lines_by_hand() -> None:
    """Lines three voxels apart in y: no overlap, and every border voxel three voxels (1.5 µm) from the other line."""
    shape = (3, 8, 10)
    found = measure(line(shape, 1, slice(None)), line(shape, 4, slice(None)), SPACING)
    assert found.rule is Rule.DISJOINT
    assert (found.values["dsc"], found.values["centreline_dsc"]) == (0, 0)
    assert (found.values["measured_masd_um"], found.values["measured_masd_voxels"]) == (1.5, 3.0)


def test_half_a_line_by_hand() -> None:
    """Half of a line of ten: DSC 2·5/15, precision 1, sensitivity ½, and the missing voxels 1 to 5 voxels away."""
    shape = (3, 3, 10)
    found = measure(line(shape, 1, slice(0, 5)), line(shape, 1, slice(None)), (1.0, 1.0, 2.0))
    assert found.values["dsc"] == pytest.approx(2 / 3)
    assert found.values["centreline_dsc"] == pytest.approx(2 / 3)
    assert found.values["measured_masd_voxels"] == pytest.approx((0 + (1 + 2 + 3 + 4 + 5) / 10) / 2)
    assert found.values["measured_masd_um"] == pytest.approx(2 * found.values["measured_masd_voxels"])


def test_concentric_balls_by_hand() -> None:
    """A ball within a larger one: borders lie about the difference of the radii apart."""
    shape = (41, 41, 41)
    found = measure(ball(shape, (20, 20, 20), 8), ball(shape, (20, 20, 20), 14), (1.0, 1.0, 1.0))
    assert found.values["measured_masd_um"] == pytest.approx(6, abs=0.4)
    assert found.values["measured_masd_um"] == found.values["measured_masd_voxels"]


def test_thickness_costs_dsc_but_not_centreline_dsc() -> None:
    """A thin tube inside a thick one follows the same centreline: clDice is near 1 where DSC is low."""
    shape = (21, 21, 40)
    grid = np.indices(shape)
    distance = (grid[0] - 10) ** 2 + (grid[1] - 10) ** 2
    found = measure(distance <= 2, distance <= 36, (1.0, 1.0, 1.0))
    assert found.values["dsc"] < 0.2
    assert found.values["centreline_dsc"] > 0.95


@pytest.mark.parametrize(
    ("prediction", "reference", "rule", "overlaps", "worst"),
    [
        (False, False, Rule.BOTH_EMPTY, 1.0, False),
        (False, True, Rule.PREDICTION_EMPTY, 0.0, True),
        (True, False, Rule.REFERENCE_EMPTY, 0.0, True),
    ],
)
def test_empty_masks_have_their_rules(
    prediction: bool, reference: bool, rule: Rule, overlaps: float, worst: bool
) -> None:
    """Nothing found where nothing is, is right; one empty mask is the worst case: the volume's diagonal."""
    shape = (4, 6, 10)
    masks = [np.zeros(shape, dtype=np.bool_) for _ in range(2)]
    masks[0][1, 2:4, 3], masks[1][2, 1, 1:3] = prediction, reference
    found = measure(masks[0], masks[1], SPACING)
    assert (found.rule, found.rule.distance_is_worst_case) == (rule, worst)
    assert [found.values[metric] for metric in ("dsc", "centreline_dsc", "nsd")] == [overlaps] * 3
    for metric in ("measured_masd_um", "hd95_um"):
        assert found.values[metric] == pytest.approx(math.sqrt(20**2 + 3**2 + 10**2) if worst else 0)
    assert found.values["measured_masd_voxels"] == pytest.approx(math.sqrt(4**2 + 6**2 + 10**2) if worst else 0)


def test_centrelines_that_miss_each_other_have_a_rule_of_their_own() -> None:
    """Thick masks that touch at their rims: DSC is measured, clDice would be 0/0 and is 0."""
    shape = (11, 11, 30)
    masks = ball(shape, (5, 5, 6), 5), ball(shape, (5, 5, 15), 5)
    found = measure(*masks, SPACING)
    assert found.rule is Rule.CENTRELINES_DISJOINT
    assert found.values["dsc"] > 0
    assert found.values["centreline_dsc"] == 0


def test_masks_of_different_shapes_are_refused() -> None:
    """Nothing is broadcast."""
    with pytest.raises(ValueError, match="different shapes"):
        measure(np.zeros((2, 3, 4), dtype=np.bool_), np.zeros((1, 3, 4), dtype=np.bool_), SPACING)
