import itertools

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage

from stages.train.losses.geometry.homotopy import (
    FURTHEST_VOXELS,
    SUBFIELDS,
    boundary_distance,
    critical_voxels,
    warped,
)
from tests.unit.stages.train.losses.geometry.topology import betti_numbers, is_simple

Mask = NDArray[np.bool_]


def blobs(shape_zyx: tuple[int, int, int], seed: int, sigma: float = 1.0, threshold: float = 0.0) -> Mask:
    noise = np.random.default_rng(seed).normal(size=shape_zyx)
    smooth = ndimage.gaussian_filter(noise, sigma)
    return smooth / smooth.std() > threshold


def depth_of(mask: Mask) -> NDArray[np.uint8]:
    return boundary_distance(torch.from_numpy(mask)[None, None])[0, 0].numpy()


def warp_one(mask: Mask, target: Mask) -> Mask:
    return warped(mask[None], target[None], depth_of(mask)[None])[0]


def warp_slowly(mask: Mask, target: Mask) -> tuple[Mask, list[tuple[int, int, int]]]:
    """One voxel after the other: shrink then grow, by depth, by subfield; again until nothing flips. And the flips."""
    state, depth, flips = np.pad(mask, 1), np.pad(depth_of(mask), 1), []
    wanted = np.pad(target, 1)
    parity = np.add.outer(np.add.outer(4 * (np.arange(state.shape[0]) % 2), 2 * (np.arange(state.shape[1]) % 2)),
                          np.arange(state.shape[2]) % 2)  # fmt: skip
    queue = sorted(
        (not state[at], depth[at], parity[at], at)
        for at in itertools.product(*map(range, state.shape))
        if state[at] != wanted[at]
    )
    before = -1
    while before != len(flips):
        before = len(flips)
        for *_, (z, y, x) in queue:
            if state[z, y, x] != wanted[z, y, x] and is_simple(state[z - 1 : z + 2, y - 1 : y + 2, x - 1 : x + 2]):
                state[z, y, x] ^= True
                flips.append((z - 1, y - 1, x - 1))
    return state[1:-1, 1:-1, 1:-1], flips


@pytest.mark.parametrize("seed", range(4))
def test_equals_flipping_voxel_by_voxel_and_every_flip_keeps_the_topology(seed: int) -> None:
    """Layers, subfields and revisits give what one voxel at a time gives; pieces, loops, cavities never change."""
    mask, target = blobs((5, 8, 9), seed, 0.8), blobs((5, 8, 9), seed + 100, 0.8, 0.3)
    expected, flips = warp_slowly(mask, target)
    np.testing.assert_array_equal(warp_one(mask, target), expected)
    state, numbers = mask.copy(), betti_numbers(mask)
    assert len(flips) > 20
    for at in flips:
        state[at] ^= True
        assert betti_numbers(state) == numbers


@pytest.mark.parametrize("seed", range(6))
def test_the_result_has_the_mask_s_topology_and_nothing_left_to_flip(seed: int) -> None:
    """On larger patches: Betti numbers stay, only wrong voxels flip, and no remaining one is simple."""
    mask, target = blobs((9, 20, 21), seed, 1.2, 0.5), blobs((9, 20, 21), seed + 50, 1.2, 0.2)
    found = warp_one(mask, target)
    assert betti_numbers(found) == betti_numbers(mask)
    assert not ((found != mask) & (mask == target)).any()
    state = np.pad(found, 1)
    for z, y, x in np.argwhere(found != target) + 1:
        assert not is_simple(state[z - 1 : z + 2, y - 1 : y + 2, x - 1 : x + 2])


def test_a_mask_is_reached_where_its_topology_is_the_same() -> None:
    """A thick vessel shrinks to a thin one, a short one grows, a bent one straightens: nothing is critical."""
    thick, thin, short, bent = np.zeros((4, 7, 11, 16), bool)
    thick[1:6, 3:8, 1:15] = True
    thin[3, 5, 1:15] = True
    short[3, 5, 1:6] = True
    bent[3, 5, 1:6] = bent[3, 5:8, 6] = bent[3, 7, 6:15] = True
    for mask, target in itertools.permutations((thick, thin, short, bent), 2):
        np.testing.assert_array_equal(warp_one(mask, target), target)


@pytest.mark.parametrize("name", ["noise", "empty", "full", "one voxel"])
def test_special_masks_against_noise_come_to_an_end(name: str) -> None:
    """An empty mask cannot gain a vessel, a full one cannot lose its last voxel; both directions are sound."""
    target = blobs((4, 9, 10), 1)
    mask = {"noise": blobs((4, 9, 10), 2), "empty": target & False, "full": target | True, "one voxel": target & False}[
        name
    ]
    if name == "one voxel":
        mask[2, 4, 4] = True
    found = warp_one(mask, target)
    assert betti_numbers(found) == betti_numbers(mask)
    if name == "empty":
        assert not found.any()
        assert warp_one(target, mask).sum() >= betti_numbers(target)[0]


def test_patches_of_a_batch_do_not_see_each_other_and_memory_order_does_not_matter() -> None:
    """Alone or together, in C order or turned: the same bits, and the masks are left as they were."""
    first = torch.from_numpy(np.stack([blobs((5, 9, 10), seed) for seed in (1, 2, 3)]))[:, None]
    second = torch.from_numpy(np.stack([blobs((5, 9, 10), seed, 1.0, 0.3) for seed in (4, 5, 6)]))[:, None]
    before = first.clone(), second.clone()
    together = critical_voxels(first, second)
    alone = torch.cat([critical_voxels(first[[i]], second[[i]]) for i in range(3)])
    assert torch.equal(together, alone)
    assert torch.equal(critical_voxels(second, first), together)
    last_first = [x.permute(4, 3, 2, 1, 0).contiguous().permute(4, 3, 2, 1, 0) for x in (first, second)]
    assert torch.equal(critical_voxels(*last_first), together)
    assert torch.equal(first, before[0])
    assert torch.equal(second, before[1])


def test_depth_is_the_distance_to_the_boundary_on_both_sides() -> None:
    """From vessel and background alike, whole voxels, cut at the furthest; subfields are the eight parities."""
    mask = blobs((6, 30, 60), 9, 4.0, 1.5)
    expected = ndimage.distance_transform_edt(mask) + ndimage.distance_transform_edt(~mask)
    np.testing.assert_array_equal(depth_of(mask), np.minimum(np.floor(expected), FURTHEST_VOXELS))
    assert expected.max() > FURTHEST_VOXELS
    assert SUBFIELDS == 2**3
