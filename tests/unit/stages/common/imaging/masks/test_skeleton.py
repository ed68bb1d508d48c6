"""Thinning: thousands of masks keep their topology, and shapes known by formula have the centreline that they must."""

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import euler_number

from stages.common.imaging.masks.skeleton import skeleton

Mask = NDArray[np.bool_]

CORNERS = np.ones((3, 3, 3), dtype=np.bool_)
FACES = ndimage.generate_binary_structure(3, 1)
SIDE = 7
SECTIONS = [(1, 2), (1, 4), (2, 2), (2, 3), (2, 4), (3, 3), (3, 4), (4, 4), (5, 5), (6, 6), (2, 6)]


def betti(mask: Mask) -> tuple[int, int, int]:
    """Pieces, loops and cavities, by scipy's labels and scikit-image's Euler number."""
    pieces = int(ndimage.label(mask, CORNERS)[1])
    cavities = int(ndimage.label(~np.pad(mask, 1), FACES)[1]) - 1
    return pieces, pieces + cavities - int(euler_number(mask, connectivity=3)), cavities


def thinned(masks: list[Mask]) -> list[Mask]:
    """The skeleton of each of many small masks, which are thinned side by side in one volume."""
    side_by_side = skeleton(np.concatenate([np.pad(mask, 1) for mask in masks]))
    ends = np.cumsum([len(mask) + 2 for mask in masks])
    return [part[1:-1, 1:-1, 1:-1] for part in np.split(side_by_side, ends[:-1])]


def noise(seed: int, count: int) -> list[Mask]:
    """Noise of every density, half of it smooth: bodies with tunnels, cavities and single voxels."""
    rng = np.random.default_rng(seed)
    values = rng.random((count, SIDE, SIDE, SIDE))
    smooth = ndimage.gaussian_filter(values[count // 2 :], (0, 1, 1, 1))
    spread = [(one - one.min()) / np.ptp(one) for one in smooth]
    return [one < density for one, density in zip([*values[: count // 2], *spread], rng.random(count), strict=True)]


def test_topology_stays_and_nothing_is_added() -> None:
    """Two thousand masks: as many pieces, loops and cavities as before, all of them within the mask."""
    masks = noise(seed=1, count=2000)
    before = [betti(mask) for mask in masks]
    assert {loops > 0 for _, loops, _ in before} == {cavities > 0 for _, _, cavities in before} == {True, False}
    for mask, numbers, line in zip(masks, before, thinned(masks), strict=True):
        assert betti(line) == numbers
        assert not (line & ~mask).any()


def test_what_could_go_has_gone() -> None:
    """A voxel without which the topology would be the same has one neighbour: it is the end of a line."""
    for line in thinned(noise(seed=2, count=100)):
        for place in np.argwhere(line):
            without = line.copy()
            without[tuple(place)] = False
            around = np.pad(line, 1)[tuple(slice(at, at + 3) for at in place)]
            if around.sum() - 1 > 1:
                assert _is_needed(line, without, around)


def _is_needed(line: Mask, without: Mask, around: Mask) -> bool:
    """Whether the voxel in the middle of `around` holds the line together, there or as a whole."""
    rest = around.copy()
    rest[1, 1, 1] = False
    # most show it there, which is the cheaper question
    return ndimage.label(rest, CORNERS)[1] > 1 or ndimage.label(~around, FACES)[1] > 1 or betti(line) != betti(without)


def bars(section: tuple[int, int], length: int, axis: int) -> Iterator[Mask]:
    """A straight bar along an axis, at even and odd places of a volume."""
    for offset in itertools.product((2, 3), repeat=3):
        sizes = [*section]
        sizes.insert(axis, length)
        mask = np.zeros([size + 6 for size in sizes], dtype=np.bool_)
        mask[tuple(slice(start, start + size) for start, size in zip(offset, sizes, strict=True))] = True
        yield mask


@pytest.mark.parametrize("length", [1, 2, 7, 30])
@pytest.mark.parametrize("section", SECTIONS)
def test_no_straight_vessel_is_lost_or_cut_short(section: tuple[int, int], length: int) -> None:
    """One piece, at most half the larger side shorter at each end, and one voxel wide between. Even sides, too."""
    lines = ((axis, line) for axis in range(3) for line in thinned(list(bars(section, length, axis))))
    for axis, line in lines:
        assert betti(line) == (1, 0, 0)
        if length > 2 * max(section):
            along = np.argwhere(line)[:, axis]
            assert length - max(section) <= np.ptp(along) + 1 <= length
            assert (np.bincount(along)[along.min() + 1 : along.max()] == 1).all()


def test_every_small_block_keeps_a_centreline() -> None:
    """However its sides are; all that thinning may take of it is what lies around."""
    blocks = [np.ones(shape, dtype=np.bool_) for shape in itertools.product(range(1, 7), repeat=3)]
    for block in blocks:
        assert betti(skeleton(np.pad(block, 1))) == (1, 0, 0)


def test_round_tubes_in_any_direction() -> None:
    """Length right within two radii and a voxel; between its ends at most a voxel and a half off the axis."""
    rng = np.random.default_rng(3)
    for _ in range(60):
        radius, length = rng.uniform(1, 5), rng.uniform(16, 40)
        direction = rng.normal(size=3)
        direction /= np.linalg.norm(direction)
        size = int(length + 2 * radius + 6)
        places = np.stack(np.indices((size,) * 3), axis=-1) - size / 2 + rng.random(3)
        along = places @ direction
        across = np.linalg.norm(places - along[..., None] * direction, axis=-1)
        line = skeleton((np.abs(along) <= length / 2) & (across <= radius))
        assert length - 2 * radius - 1.5 <= np.ptp(along[line]) + 1 <= length + 1
        assert across[line & (np.abs(along) <= length / 2 - radius)].max() <= 1.5


def test_no_round_tube_along_an_axis_is_lost() -> None:
    """Whatever its radius, and wherever its axis lies between voxels: one line, right within two radii and a voxel."""
    rng = np.random.default_rng(5)
    for number in range(300):
        radius, length, size = rng.uniform(0.8, 5), int(rng.integers(12, 24)), 30
        places = np.moveaxis(np.stack(np.indices((size, 14, 14)), axis=-1), 0, number % 3)
        along, y, x = places[..., 0] - 3, places[..., 1] - 6.5 + rng.random(), places[..., 2] - 6.5 + rng.random()
        mask = (along >= 0) & (along < length) & (np.hypot(y, x) <= radius)
        line = skeleton(mask)
        assert betti(line) == (1, 0, 0), (radius, length)
        assert length - 2 * radius - 1.5 <= np.ptp(along[line]) + 1 <= length


def test_every_arm_of_a_tree_is_reached() -> None:
    """Arms of unlike width about a thick middle: the line comes as near to each tip as the arm is wide."""
    rng = np.random.default_rng(4)
    for _ in range(10):
        places = np.stack(np.indices((48,) * 3), axis=-1) - 24.0
        mask = np.linalg.norm(places, axis=-1) <= 5
        tips = []
        for direction in [*np.eye(3), *-np.eye(3)]:
            leaning = direction + rng.uniform(-0.3, 0.3, 3)
            leaning /= np.linalg.norm(leaning)
            radius = rng.uniform(1, 3)
            along = places @ leaning
            across = np.linalg.norm(places - along[..., None] * leaning, axis=-1)
            mask |= (along >= 0) & (along <= 18) & (across <= radius)
            tips.append((18 * leaning, radius))
        line = places[skeleton(mask)]
        for tip, radius in tips:
            assert np.linalg.norm(line - tip, axis=1).min() <= 2 * radius + 1


@pytest.mark.parametrize("shape", [*itertools.product((1, 2, 3, 4, 7, 10), repeat=3), (9, 40, 33), (6, 7, 50)])
def test_a_full_volume_has_the_centreline_that_thinning_gives(shape: tuple[int, int, int]) -> None:
    """Peeling by arithmetic equals thinning voxel by voxel, for solid boxes of any proportions."""
    with_speck = np.zeros([side + 3 for side in shape], dtype=np.bool_)
    with_speck[tuple(slice(side) for side in shape)] = True
    with_speck[-1, -1, -1] = True
    box = tuple(slice(side) for side in shape)
    assert np.array_equal(skeleton(np.ones(shape, dtype=np.bool_)), skeleton(with_speck)[box])


@pytest.mark.parametrize("margin", [1, 2, 3])
def test_the_place_in_a_volume_does_not_matter(margin: int) -> None:
    """A larger volume about the same mask holds the same centreline."""
    for mask in noise(seed=5, count=40):
        inner = (slice(margin, -margin),) * 3
        assert np.array_equal(skeleton(np.pad(mask, margin))[inner], skeleton(mask))


def test_an_empty_mask_has_none() -> None:
    """And nothing is raised."""
    assert not skeleton(np.zeros((3, 4, 5), dtype=np.bool_)).any()


def test_a_ring_is_a_closed_curve() -> None:
    """The hole stays, and no ends appear."""
    z, y, x = np.indices((13, 41, 41))
    ring = (z - 6) ** 2 + (np.hypot(y - 20, x - 20) - 12) ** 2 <= 9
    line = skeleton(ring)
    assert betti(line) == (1, 1, 0)
    assert set(ndimage.convolve(line.astype(int), CORNERS.astype(int), mode="constant")[line] - 1) == {2}
