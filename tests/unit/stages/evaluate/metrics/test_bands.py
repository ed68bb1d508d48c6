"""Bands of radius: bars whose radius is known, against a brute-force assignment."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from stages.common.imaging.masks.skeleton import skeleton
from stages.evaluate.metrics.bands import BANDS, BandCounts, band_counts, radii_um

Mask = NDArray[np.bool_]
SPACING = (2.0, 1.0, 0.5)


def two_vessels() -> Mask:
    """A bar of 3 × 3 voxels in section and one of 9 × 9, both along x."""
    mask = np.zeros((13, 40, 30), dtype=np.bool_)
    mask[5:8, 4:7, 2:-2] = True
    mask[2:11, 20:29, 2:-2] = True
    return mask


def counted(
    prediction: Mask, label: Mask, edges: tuple[float, float], spacing: tuple[float, float, float]
) -> tuple[BandCounts, ...]:
    return band_counts((prediction, label), (skeleton(prediction), skeleton(label)), spacing, edges, threads=1)


def test_a_lost_capillary_shows_in_its_own_band() -> None:
    """The thick vessel is found whole: recall over all voxels is 0.9, over thin vessels 0."""
    label = two_vessels()
    prediction = label.copy()
    prediction[:, :10] = False
    thin, middle, thick = counted(prediction, label, (2.5, 4.5), (1.0, 1.0, 1.0))
    assert (thin.recall, thin.centreline_dsc) == (0.0, 0.0)
    assert (middle.recall, middle.centreline_dsc) == (None, None)
    assert (thick.recall, thick.centreline_dsc) == (1.0, 1.0)
    assert thin.label + thick.label == label.sum()
    assert prediction.sum() / label.sum() == pytest.approx(0.9)


def test_a_false_vessel_costs_in_the_band_beside_it() -> None:
    """A predicted line belongs to the nearest vessel of the label."""
    label = two_vessels()
    prediction = label.copy()
    prediction[6, 10, 2:-2] = True
    thin, _, thick = counted(prediction, label, (2.5, 4.5), (1.0, 1.0, 1.0))
    assert thin.recall == 1.0
    assert thin.centreline_dsc is not None
    assert thin.centreline_dsc < 0.75
    assert thick.centreline_dsc == 1.0


@pytest.mark.parametrize("seed", range(6))
def test_counts_are_those_of_a_search_over_all_pairs(seed: int) -> None:
    """Anisotropic noise: each voxel's nearest centreline voxel, and its distance to the background, by brute force."""
    rng = np.random.default_rng(seed)
    label, prediction = (rng.random((5, 7, 8)) < 0.4 for _ in range(2))
    lines = skeleton(prediction), skeleton(label)
    found = band_counts((prediction, label), lines, SPACING, (0.75, 1.5), threads=1)
    places = np.argwhere(lines[1]) * SPACING
    background = np.argwhere(~label) * SPACING
    radii = np.array([np.linalg.norm(background - place, axis=1).min() for place in places])
    assert radii_um(label, lines[1], SPACING, threads=1) == pytest.approx(radii)
    total = BandCounts.pooled(found)
    assert total == BandCounts(
        label.sum(),
        (label & prediction).sum(),
        lines[1].sum(),
        (lines[1] & prediction).sum(),
        lines[0].sum(),
        (lines[0] & label).sum(),
    )
    bands = np.searchsorted([0.75, 1.5], radii, side="right")
    assert [one.line for one in found] == [np.count_nonzero(bands == band) for band in range(len(BANDS))]
    # where two centreline voxels are equally near, either may count: the nearest ones' bands bound the numbers
    for band, one in enumerate(found):
        nearest = [_bands_of_nearest(place * SPACING, places, bands) for place in np.argwhere(label)]
        assert sum(each == {band} for each in nearest) <= one.label <= sum(band in each for each in nearest)


def _bands_of_nearest(place: NDArray[np.float64], places: NDArray[np.float64], bands: NDArray[np.intp]) -> set[int]:
    distances = np.linalg.norm(places - place, axis=1)
    return set(bands[distances <= distances.min() + 1e-9].tolist())


@pytest.mark.parametrize(("step", "voxels"), [(0.3, 10), (0.6, 5), (0.7, 3), (0.5, 6)])
def test_a_radius_on_an_edge_is_in_one_band_wherever_the_vessel_is(step: float, voxels: int) -> None:
    """From the edge on a band begins, and the last digit of a coordinate decides nothing."""
    side, found = 2 * voxels - 1, set()
    for at in range(1, 30, 4):
        vessel = np.zeros((1, side + 31, side + 31), np.bool_)
        vessel[:, at : at + side, at + 1 : at + 1 + side] = True
        line = np.zeros_like(vessel)
        line[:, at + voxels - 1, at + voxels] = True
        bands = band_counts((vessel, vessel), (line, line), (1.0, step, step), (round(step * voxels, 6), 50.0), 1)
        found.add(tuple(band.line for band in bands))
    assert found == {(0, 1, 0)}


def test_without_a_label_there_is_no_band() -> None:
    """Nothing to count, and no failure; without background everything is thick."""
    nothing, full = np.zeros((4, 5, 6), dtype=np.bool_), np.ones((4, 5, 6), dtype=np.bool_)
    assert counted(full, nothing, (1.0, 2.0), SPACING) == (BandCounts(),) * 3
    assert {one.recall for one in counted(full, nothing, (1.0, 2.0), SPACING)} == {None}
    thin, middle, thick = counted(full, full, (1.0, 2.0), SPACING)
    assert (thin.label, middle.label, thick.label) == (0, 0, full.size)
    assert math.isinf(radii_um(full, skeleton(full), SPACING, threads=1)[0])
