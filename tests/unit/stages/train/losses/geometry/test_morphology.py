from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from stages.train.losses.geometry.morphology import dilate, erode, grow, morphological_skeleton
from tests.unit.stages.train.losses.geometry.pooled_skeleton import pooled_skeleton

CROSS = ndimage.generate_binary_structure(3, 1)
CUBE = np.ones((3, 3, 3), dtype=bool)


def blobs(shape_zyx: tuple[int, int, int]) -> Tensor:
    noise = np.random.default_rng(5).normal(size=(2, *shape_zyx))
    return torch.from_numpy(ndimage.gaussian_filter(noise, (0, 1, 2, 2)) > 0.05)[:, None]


@pytest.mark.parametrize("shape_zyx", [(9, 30, 31), (1, 20, 20), (2, 12, 1)])
def test_erosion_and_dilation_equal_scipy(shape_zyx: tuple[int, int, int]) -> None:
    """6-neighbourhood and 26-neighbourhood, with nothing known beyond the faces."""
    masks = blobs(shape_zyx)
    for mask, eroded, grown, dilated in zip(
        masks[:, 0], erode(masks)[:, 0], grow(masks)[:, 0], dilate(masks)[:, 0], strict=True
    ):
        np.testing.assert_array_equal(eroded.numpy(), ndimage.binary_erosion(mask.numpy(), CROSS, border_value=1))
        np.testing.assert_array_equal(grown.numpy(), ndimage.binary_dilation(mask.numpy(), CROSS))
        np.testing.assert_array_equal(dilated.numpy(), ndimage.binary_dilation(mask.numpy(), CUBE))


def test_skeleton_is_the_soft_skeleton_of_a_binary_image(tube: Callable[..., Tensor]) -> None:
    """On masks of 0 and 1 nothing is lost against the soft skeleton of the paper, given enough rounds."""
    for masks in (blobs((9, 30, 31)), tube(4), tube(2.5, gap_voxels=6)):
        expected = pooled_skeleton(masks.float(), rounds=20)
        assert torch.equal(morphological_skeleton(masks).float(), expected)


def test_skeleton_of_a_round_tube_is_its_axis(tube: Callable[..., Tensor], axis_of_tube: Tensor) -> None:
    """A vessel that crosses the whole patch keeps its centreline up to both faces."""
    assert torch.equal(morphological_skeleton(tube(3)) & axis_of_tube, axis_of_tube)


def test_skeleton_lies_in_the_mask_and_reaches_every_piece_of_it() -> None:
    """No vessel, however small, is without a centreline."""
    masks = blobs((9, 30, 31))
    skeletons = morphological_skeleton(masks)
    assert not (skeletons & ~masks).any()
    for mask, skeleton in zip(masks[:, 0], skeletons[:, 0], strict=True):
        pieces, count = ndimage.label(mask.numpy(), CUBE)
        assert set(pieces[skeleton.numpy()]) == set(range(1, count + 1))


def test_empty_and_full_patches_have_no_skeleton() -> None:
    """Both ends come to an end."""
    full = torch.ones(1, 1, 4, 6, 6, dtype=torch.bool)
    assert not morphological_skeleton(full).any()
    assert not morphological_skeleton(~full).any()
