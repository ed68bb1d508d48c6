"""Distances between borders: against MONAI, by hand, and bit for bit against a plain k-d tree."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from monai.metrics import compute_hausdorff_distance, compute_surface_dice
from scipy.ndimage import binary_erosion
from scipy.spatial import cKDTree

from stages.evaluate.metrics.surface import border, distances
from tests.unit.stages.evaluate.masks import Mask, Spacing, ball, mask_pairs, spacings

SPACING = (5.0, 0.5, 1.25)


def one_hot(mask: Mask) -> torch.Tensor:
    return torch.from_numpy(np.stack([~mask, mask])[None].astype(np.float32))


def tubes(seed: int) -> tuple[Mask, Mask]:
    """A bent tube, and the same one moved, thicker, with a piece cut out and specks around it."""
    rng = np.random.default_rng(seed)
    z, y, x = np.indices((16, 40, 60))
    course = 20 + 8 * np.sin(x / rng.uniform(8, 12))
    reference = (z - 8) ** 2 + (y - course) ** 2 <= 9
    prediction = (z - 7) ** 2 + (y - course - 1) ** 2 <= 14
    prediction[:, :, 20:26] = False
    return prediction | (rng.random(prediction.shape) < 0.001), reference


@pytest.mark.parametrize("seed", range(4))
def test_hd95_and_nsd_equal_monais(seed: int) -> None:
    """On anisotropic tubes, where the definitions agree: HD95 as the larger percentile, NSD over border voxels."""
    prediction, reference = tubes(seed)
    found = distances(border(prediction), border(reference), SPACING, threads=1)
    pair: dict[str, Any] = {"y_pred": one_hot(prediction), "y": one_hot(reference), "spacing": list(SPACING)}
    hd95 = compute_hausdorff_distance(**pair, percentile=95, directed=False).item()
    assert found.hd95() == pytest.approx(hd95, rel=1e-6)
    for tolerance in (0.0, 1.0, 1.25, 5.0):
        nsd = compute_surface_dice(**pair, class_thresholds=[tolerance]).item()
        assert found.nsd(tolerance) == pytest.approx(nsd, rel=1e-6)


@settings(max_examples=80, deadline=None)
@given(masks=mask_pairs(), spacing=spacings)
def test_masd_is_bit_equal_to_a_search_of_every_border_voxel(masks: tuple[Mask, Mask], spacing: Spacing) -> None:
    """Leaving out what both borders have in common, and an erosion by slices, change no bit."""
    prediction, reference = masks
    if not (prediction.any() and reference.any()):
        return
    points = [np.argwhere(mask & ~binary_erosion(mask)) * np.asarray(spacing) for mask in masks]
    there, _ = cKDTree(points[1], balanced_tree=False).query(points[0])
    back, _ = cKDTree(points[0], balanced_tree=False).query(points[1])
    found = distances(border(prediction), border(reference), spacing, threads=2)
    assert np.array_equal(found.to_reference, there)
    assert np.array_equal(found.to_prediction, back)
    assert found.masd() == (float(np.mean(there)) + float(np.mean(back))) / 2


def test_hd95_ignores_a_twentieth_of_the_border_by_hand() -> None:
    """A row of 41 voxels against itself with a voxel 10 away: borders of 41 and 42, one distance that is not 0."""
    reference = np.zeros((3, 14, 41), dtype=np.bool_)
    reference[1, 1] = True
    prediction = reference.copy()
    prediction[1, 11, 20] = True
    found = distances(border(prediction), border(reference), (1.0, 1.0, 1.0), threads=1)
    assert found.to_reference.max() == 10
    assert found.hd95() == 0
    assert found.masd() == pytest.approx(10 / 42 / 2)
    assert found.nsd(0) == pytest.approx((41 + 41) / (42 + 41))
    assert found.nsd(10) == 1


def test_hd95_interpolates_between_the_ordered_distances() -> None:
    """Distances 0, 1, …, 10: the 95th percentile lies half way between 9 and 10."""
    prediction = np.zeros((1, 1, 11), dtype=np.bool_)
    prediction[...] = True
    reference = np.zeros_like(prediction)
    reference[0, 0, 0] = True
    found = distances(border(prediction), border(reference), (1.0, 1.0, 2.0), threads=1)
    assert found.hd95() == pytest.approx(2 * 9.5)


def test_nsd_counts_a_distance_of_exactly_the_tolerance() -> None:
    """The tolerance belongs to what is tolerated; a hair less does not."""
    masks = [np.zeros((1, 5, 7), dtype=np.bool_) for _ in range(2)]
    masks[0][0, 1], masks[1][0, 3] = True, True
    found = distances(border(masks[0]), border(masks[1]), (1.0, 0.5, 1.0), threads=1)
    assert (found.nsd(1.0), found.nsd(0.999)) == (1, 0)


def test_rounding_decides_nothing_about_the_tolerance() -> None:
    """Two voxels of 0.7 µm are within 1.4 µm wherever they lie, although 0.7·9 − 0.7·7 is not 0.7·2."""
    assert 0.7 * 9 - 0.7 * 7 != 0.7 * 2
    for first in range(30):
        masks = [np.zeros((1, 1, 32), dtype=np.bool_) for _ in range(2)]
        masks[0][..., first] = masks[1][..., first + 2] = True
        assert distances(border(masks[0]), border(masks[1]), (1.0, 1.0, 0.7), threads=1).nsd(1.4) == 1


def test_the_border_of_a_full_volume_is_its_rim() -> None:
    """Beyond the edge is background, so a mask that fills the volume has a border there."""
    assert np.count_nonzero(border(np.ones((4, 5, 6), dtype=np.bool_))) == 4 * 5 * 6 - 2 * 3 * 4


@settings(max_examples=80, deadline=None)
@given(masks=mask_pairs())
def test_the_border_is_what_erosion_takes_away(masks: tuple[Mask, Mask]) -> None:
    """Slices and SciPy's erosion agree, down to volumes one voxel thick."""
    assert np.array_equal(border(masks[0]), masks[0] & ~binary_erosion(masks[0]))


def test_thick_masks_have_far_smaller_borders_than_volumes() -> None:
    """Only a ball's skin is searched."""
    solid = ball((31, 31, 31), (15, 15, 15), 14)
    assert np.count_nonzero(border(solid)) < 0.25 * np.count_nonzero(solid)
