import numpy as np
import pytest
import torch
from scipy import ndimage

from stages.train.losses.geometry.distance import MAX_DISTANCE_VOXELS, distance_to_background


@pytest.mark.parametrize("background_share", [0.5, 0.1, 0.01, 0.001])
@pytest.mark.parametrize("shape_zyx", [(12, 40, 33), (1, 30, 31), (3, 1, 50)])
def test_equals_scipy(shape_zyx: tuple[int, int, int], background_share: float) -> None:
    """The distances are the exact Euclidean ones, dense or sparse, flat or deep, each patch by itself."""
    masks = np.random.default_rng(3).random((3, *shape_zyx)) >= background_share
    masks[:, 0, 0, 0] = False
    expected = np.stack([ndimage.distance_transform_edt(mask) for mask in masks])
    found = distance_to_background(torch.from_numpy(masks)[:, None])[:, 0]
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6)


def test_a_patch_without_background_has_the_largest_distance_and_leaves_the_others_alone() -> None:
    """Full patches have no nearest background; they must neither be 0 nor disturb their batch."""
    masks = torch.ones(3, 1, 4, 5, 6, dtype=torch.bool)
    masks[1, 0, 2, 2, 3] = False
    masks[2] = False
    found = distance_to_background(masks)
    assert (found[0] == MAX_DISTANCE_VOXELS).all()
    np.testing.assert_allclose(found[1, 0].numpy(), ndimage.distance_transform_edt(masks[1, 0].numpy()), rtol=1e-6)
    assert (found[2] == 0).all()


def test_distances_beyond_the_largest_are_cut() -> None:
    """16 bits hold distances up to 128 voxels; longer ones neither overflow nor wrap."""
    masks = torch.ones(1, 1, 1, 1, 300, dtype=torch.bool)
    masks[..., 0] = False
    expected = torch.arange(300.0).clamp(max=MAX_DISTANCE_VOXELS)
    torch.testing.assert_close(distance_to_background(masks)[0, 0, 0, 0], expected)


def test_the_mask_is_left_as_it_was() -> None:
    """The transform works on a copy."""
    masks = torch.rand(1, 1, 4, 9, 9, generator=torch.Generator().manual_seed(0)) < 0.7
    before = masks.clone()
    distance_to_background(masks)
    assert torch.equal(masks, before)
