"""The metrics against brute force, hand-computed cases and invariances."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from stages.evaluate.measure import METRICS, measure
from stages.evaluate.metrics.centreline import skeleton
from stages.evaluate.metrics.rules import Rule
from stages.evaluate.metrics.surface import border_points

Mask = NDArray[np.bool_]
SPACING = (5.0, 0.5, 1.0)

spacings = st.tuples(*[st.sampled_from([0.5, 1.0, 2.485, 5.0])] * 3)


@st.composite
def mask_pairs(draw: st.DrawFn) -> tuple[Mask, Mask]:
    """Two masks of one small shape: noise of varied density, empty and full ones among them."""
    shape = draw(array_shapes(min_dims=3, max_dims=3, max_side=6))
    first, second = (draw(arrays(np.uint8, shape, elements=st.integers(0, 9))) for _ in range(2))
    levels = draw(st.tuples(st.integers(0, 10), st.integers(0, 10)))
    return first < levels[0], second < levels[1]


def brute_border(mask: Mask) -> list[tuple[int, ...]]:
    def inside(voxel: tuple[int, ...]) -> bool:
        return all(0 <= v < s for v, s in zip(voxel, mask.shape, strict=True)) and bool(mask[voxel])

    steps = [(-1, 0, 0), (1, 0, 0), (0, -1, 0), (0, 1, 0), (0, 0, -1), (0, 0, 1)]
    voxels = [tuple(map(int, voxel)) for voxel in np.argwhere(mask)]
    return [
        voxel
        for voxel in voxels
        if not all(inside(tuple(v + d for v, d in zip(voxel, step, strict=True))) for step in steps)
    ]


def brute_masd(prediction: Mask, reference: Mask, spacing: tuple[float, ...]) -> float:
    def mean_distance(start: list[tuple[int, ...]], goal: list[tuple[int, ...]]) -> float:
        scaled = [tuple(v * s for v, s in zip(voxel, spacing, strict=True)) for voxel in goal]
        return float(
            np.mean(
                [min(math.dist([v * s for v, s in zip(p, spacing, strict=True)], g) for g in scaled) for p in start]
            )
        )

    borders = brute_border(prediction), brute_border(reference)
    return (mean_distance(*borders) + mean_distance(*borders[::-1])) / 2


def ball(shape: tuple[int, int, int], centre: tuple[int, int, int], radius: float) -> Mask:
    grid = np.indices(shape)
    return sum((grid[axis] - centre[axis]) ** 2 for axis in range(3)) <= radius**2


def line(shape: tuple[int, int, int], y: int, x: slice) -> Mask:
    mask = np.zeros(shape, dtype=np.bool_)
    mask[1, y, x] = True
    return mask


@settings(max_examples=150, deadline=None)
@given(masks=mask_pairs(), spacing=spacings)
def test_metrics_equal_brute_force(masks: tuple[Mask, Mask], spacing: tuple[float, float, float]) -> None:
    """On any two masks: DSC from sets of voxels, clDice from its definition, MASD over all pairs of border voxels."""
    prediction, reference = masks
    found = measure(prediction, reference, spacing)
    voxels = [set(map(tuple, np.argwhere(mask))) for mask in masks]
    size = len(voxels[0]) + len(voxels[1])
    assert found.dsc == pytest.approx(2 * len(voxels[0] & voxels[1]) / size if size else 1.0)
    assert (found.predicted_voxels, found.reference_voxels) == (len(voxels[0]), len(voxels[1]))
    assert found.common_voxels == len(voxels[0] & voxels[1])
    if not (prediction.any() and reference.any()):
        return
    assert found.measured_masd_um == pytest.approx(brute_masd(prediction, reference, spacing))
    assert found.measured_masd_voxels == pytest.approx(brute_masd(prediction, reference, (1, 1, 1)))
    lines = [set(map(tuple, np.argwhere(skeleton(mask)))) for mask in masks]
    precision, sensitivity = len(lines[0] & voxels[1]) / len(lines[0]), len(lines[1] & voxels[0]) / len(lines[1])
    total = precision + sensitivity
    assert found.centreline_dsc == pytest.approx(2 * precision * sensitivity / total if total else 0.0)


@settings(max_examples=150, deadline=None)
@given(masks=mask_pairs(), spacing=spacings)
def test_every_metric_of_every_pair_is_finite_and_in_range(
    masks: tuple[Mask, Mask], spacing: tuple[float, float, float]
) -> None:
    """No pair of masks, however odd, gives NaN: overlaps lie in [0, 1], distances within the volume's diagonal."""
    found = measure(*masks, spacing)
    diagonal = math.hypot(*(size * step for size, step in zip(masks[0].shape, spacing, strict=True)))
    assert 0 <= found.dsc <= 1
    assert 0 <= found.centreline_dsc <= 1
    assert 0 <= found.measured_masd_um <= diagonal * (1 + 1e-12)
    assert 0 <= found.measured_masd_voxels <= math.hypot(*masks[0].shape) * (1 + 1e-12)


@settings(max_examples=60, deadline=None)
@given(masks=mask_pairs(), spacing=spacings)
def test_swapping_the_masks_changes_no_metric(masks: tuple[Mask, Mask], spacing: tuple[float, float, float]) -> None:
    """All metrics are symmetric."""
    there, back = measure(*masks, spacing), measure(*masks[::-1], spacing)
    for metric in METRICS:
        assert getattr(there, metric) == pytest.approx(getattr(back, metric))


@settings(max_examples=60, deadline=None)
@given(masks=mask_pairs(), margin=st.integers(1, 3), spacing=spacings)
def test_background_around_the_masks_changes_no_measurement(
    masks: tuple[Mask, Mask], margin: int, spacing: tuple[float, float, float]
) -> None:
    """A larger volume with the same vessels gives the same numbers, except where the diagonal is the rule."""
    plain = measure(*masks, spacing)
    padded = measure(*(np.pad(mask, margin) for mask in masks), spacing)
    assert padded.rule is plain.rule
    for metric in METRICS[:2] if plain.rule.masd_is_worst_case else METRICS:
        assert getattr(padded, metric) == pytest.approx(getattr(plain, metric))


@settings(max_examples=60, deadline=None)
@given(masks=mask_pairs(), factor=st.sampled_from([0.5, 3.0]), spacing=spacings)
def test_masd_scales_with_the_spacing(
    masks: tuple[Mask, Mask], factor: float, spacing: tuple[float, float, float]
) -> None:
    """Micrometres follow the voxel size; voxels do not."""
    z, y, x = (factor * step for step in spacing)
    one, scaled = measure(*masks, spacing), measure(*masks, (z, y, x))
    assert scaled.measured_masd_um == pytest.approx(factor * one.measured_masd_um)
    assert scaled.measured_masd_voxels == pytest.approx(one.measured_masd_voxels)


@settings(max_examples=40, deadline=None)
@given(masks=mask_pairs())
def test_a_mask_against_itself_is_perfect(masks: tuple[Mask, Mask]) -> None:
    """Equal masks: overlaps 1, distances 0, be they empty or full."""
    found = measure(masks[0], masks[0].copy(), SPACING)
    assert [getattr(found, metric) for metric in METRICS] == [1, 1, 0, 0]


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
    assert (found.dsc, found.centreline_dsc) == (0, 0)
    assert (found.measured_masd_um, found.measured_masd_voxels) == (1.5, 3.0)


def test_half_a_line_by_hand() -> None:
    """Half of a line of ten: DSC 2·5/15, precision 1, sensitivity ½, and the missing voxels 1 to 5 voxels away."""
    shape = (3, 3, 10)
    found = measure(line(shape, 1, slice(0, 5)), line(shape, 1, slice(None)), (1.0, 1.0, 2.0))
    assert found.dsc == pytest.approx(2 / 3)
    assert found.centreline_dsc == pytest.approx(2 / 3)
    assert found.measured_masd_voxels == pytest.approx((0 + (1 + 2 + 3 + 4 + 5) / 10) / 2)
    assert found.measured_masd_um == pytest.approx(2 * found.measured_masd_voxels)


def test_concentric_balls_by_hand() -> None:
    """A ball within a larger one: borders lie about the difference of the radii apart."""
    shape = (41, 41, 41)
    found = measure(ball(shape, (20, 20, 20), 8), ball(shape, (20, 20, 20), 14), (1.0, 1.0, 1.0))
    assert found.measured_masd_um == pytest.approx(6, abs=0.4)
    assert found.measured_masd_um == found.measured_masd_voxels


def test_thickness_costs_dsc_but_not_centreline_dsc() -> None:
    """A thin tube inside a thick one follows the same centreline: clDice is near 1 where DSC is low."""
    shape = (21, 21, 40)
    grid = np.indices(shape)
    distance = (grid[0] - 10) ** 2 + (grid[1] - 10) ** 2
    found = measure(distance <= 2, distance <= 36, (1.0, 1.0, 1.0))
    assert found.dsc < 0.2
    assert found.centreline_dsc > 0.95


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
    assert (found.rule, found.rule.masd_is_worst_case) == (rule, worst)
    assert (found.dsc, found.centreline_dsc) == (overlaps, overlaps)
    assert found.measured_masd_um == pytest.approx(math.sqrt(20**2 + 3**2 + 10**2) if worst else 0)
    assert found.measured_masd_voxels == pytest.approx(math.sqrt(4**2 + 6**2 + 10**2) if worst else 0)


def test_centrelines_that_miss_each_other_have_a_rule_of_their_own() -> None:
    """Thick masks that touch at their rims: DSC is measured, clDice would be 0/0 and is 0."""
    shape = (11, 11, 30)
    masks = ball(shape, (5, 5, 6), 5), ball(shape, (5, 5, 15), 5)
    found = measure(*masks, SPACING)
    assert found.rule is Rule.CENTRELINES_DISJOINT
    assert found.dsc > 0
    assert found.centreline_dsc == 0


def test_the_border_of_a_full_volume_is_its_rim() -> None:
    """Beyond the edge is background, so a mask that fills the volume has a border there."""
    assert len(border_points(np.ones((4, 5, 6), dtype=np.bool_))) == 4 * 5 * 6 - 2 * 3 * 4


def test_a_mask_that_thinning_would_lose_keeps_a_centreline() -> None:
    """Every small solid block has a centreline within itself."""
    for shape in itertools.product(range(1, 5), repeat=3):
        block = np.pad(np.ones(shape, dtype=np.bool_), 1)
        assert skeleton(block).any()
        assert not (skeleton(block) & ~block).any()


def test_masks_of_different_shapes_are_refused() -> None:
    """Nothing is broadcast."""
    with pytest.raises(ValueError, match="different shapes"):
        measure(np.zeros((2, 3, 4), dtype=np.bool_), np.zeros((1, 3, 4), dtype=np.bool_), SPACING)
