"""What of a volume's measures is taken where only a part of it is labelled."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from stages.common.metrics import METRICS
from stages.evaluate.measure import Measurement, measure
from stages.evaluate.metrics.blocks import labelled_blocks
from stages.evaluate.small_parts import dsc_without, parts_of
from stages.evaluate.statistics.calibration import Reliability

Mask = NDArray[np.bool_]
SPACING_UM = (4.0, 1.0, 1.0)
SHAPE = (6, 20, 24)


def masks(seed: int = 0) -> tuple[Mask, Mask]:
    """A prediction and a label: two crossing tubes, both with noise."""
    rng = np.random.default_rng(seed)
    tubes = np.zeros(SHAPE, np.bool_)
    tubes[2:4, 8:12], tubes[:, 4:8, 5:9] = True, True
    return tubes ^ (rng.random(SHAPE) < 0.02), tubes ^ (rng.random(SHAPE) < 0.02)


def measured(prediction: Mask, label: Mask, labelled: Mask | None) -> Measurement:
    return measure(
        prediction,
        label,
        SPACING_UM,
        metrics=tuple(METRICS),
        nsd_tolerance_um=2.0,
        radius_bands_um=(3.0, 6.0),
        labelled_zyx=labelled,
    )


def region(*boxes: tuple[slice, slice, slice]) -> Mask:
    labelled = np.zeros(SHAPE, np.bool_)
    for box in boxes:
        labelled[box] = True
    return labelled


BOX = (slice(1, 5), slice(2, 18), slice(3, 20))
SLICES = [(slice(z, z + 1), slice(None), slice(None)) for z in (0, 3, 5)]
SCATTERED = np.random.default_rng(1).random(SHAPE) < 0.3


def test_one_block_measures_what_it_would_as_a_volume() -> None:
    """Every metric and every count of vessels by radius."""
    prediction, label = masks()
    part, whole = measured(prediction, label, region(BOX)), measured(prediction[BOX], label[BOX], None)
    assert part.values == pytest.approx(whole.values, abs=1e-12)
    assert (part.bands, part.common_voxels, part.rule) == (whole.bands, whole.common_voxels, whole.rule)
    assert part.labelled_share == region(BOX).mean()


@pytest.mark.parametrize("labelled", [region(BOX), region(*SLICES), SCATTERED], ids=["box", "slices", "scattered"])
def test_nothing_hangs_on_what_is_not_labelled(labelled: Mask) -> None:
    """Neither a metric nor a count, whatever both masks hold there."""
    prediction, label = masks()
    first = measured(prediction, label, labelled)
    second = measured(np.where(labelled, prediction, ~prediction), np.where(labelled, label, True), labelled)
    np.testing.assert_equal(vars(first), vars(second))


def test_several_blocks_weigh_by_their_voxels() -> None:
    """But the DSC, which counts voxels, is of all of them together."""
    prediction, label = masks()
    thin, thick = SLICES[0], (slice(2, 6), slice(None), slice(None))
    part = measured(prediction, label, region(thin, thick))
    one, two = (measured(prediction[box], label[box], None) for box in (thin, thick))
    expected = {name: (one.values[name] + 4 * two.values[name]) / 5 for name in METRICS if name != "dsc"}
    assert {name: part.values[name] for name in expected} == pytest.approx(expected)
    assert part.values["dsc"] == 2 * part.common_voxels / (part.predicted_voxels + part.reference_voxels)
    assert part.predicted_voxels == one.predicted_voxels + two.predicted_voxels


def test_scattered_voxels_have_a_dsc_and_nothing_else() -> None:
    """A centreline, a border or a loop cannot be told from them."""
    part = measured(*masks(), SCATTERED)
    assert {name for name, value in part.values.items() if not math.isnan(value)} == {"dsc"}
    assert not any(band.label for band in part.bands)


def test_volume_that_is_labelled_throughout_measures_as_ever() -> None:
    """With and without the mask, to the last bit."""
    assert measured(*masks(), np.ones(SHAPE, np.bool_)) == measured(*masks(), None)


def test_blocks_are_boxes_of_some_size() -> None:
    """A piece of another form, and one with hardly a vessel's width, is none."""
    corner = region(BOX)
    corner[2, 5, 5] = False
    assert labelled_blocks(region(BOX)) == [BOX]
    assert len(labelled_blocks(region(*SLICES))) == 3
    assert labelled_blocks(corner) == []
    assert labelled_blocks(region((slice(0, 6), slice(0, 7), slice(0, 24)))) == []


def test_calibration_and_small_parts_count_labelled_voxels() -> None:
    """A part is as large as it is, and counts for what is labelled of it."""
    prediction, label = masks()
    label = label & SCATTERED
    probability = np.random.default_rng(2).random(SHAPE, dtype=np.float32)
    part = Reliability.of(probability, label, SCATTERED)
    np.testing.assert_array_equal(part.voxels, np.histogram(probability[SCATTERED], len(part.voxels), (0, 1))[0])
    assert part.vessel_voxels.sum() == label.sum()
    parts = parts_of("dice_ce", 0, prediction, label, SPACING_UM, SCATTERED)
    assert parts.voxels.sum() == prediction.sum()
    expected = measured(prediction, label, SCATTERED).values["dsc"]
    assert dsc_without(parts, np.array([0.0]))[0] == pytest.approx(expected)
