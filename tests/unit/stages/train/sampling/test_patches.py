from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.common.imaging.volumes import Volume
from stages.train.sampling.patches import CENTRES_PER_VOLUME, Foreground, PatchPlace, cut, draw_patch, index_foreground

PATCH = (4, 16, 16)


def _draw(foreground: Foreground, share: float, count: int) -> list[PatchPlace]:
    rng = np.random.default_rng(0)
    return [draw_patch(rng, foreground, PATCH, share) for _ in range(count)]


def _with_vessels(shape: tuple[int, int, int], *voxels: tuple[int, int, int]) -> Foreground:
    """One volume of `shape` whose vessel is `voxels`."""
    flat = [np.ravel_multi_index(voxel, shape) for voxel in voxels]
    return Foreground(shapes_zyx=(shape,), flat_indices=(np.array(sorted(flat), np.int64),))


def test_the_wanted_share_of_patches_holds_a_vessel_and_patches_lie_inside(volumes: list[Volume]) -> None:
    """With share 1 every patch has foreground; patches leave a volume only where it is smaller than they are."""
    foreground = index_foreground(volumes, seed=0)
    places = _draw(foreground, 1.0, 200)
    assert {place.volume for place in places} == {0, 1, 2}
    for place in places:
        label = volumes[place.volume].label()
        assert cut(label, place.start_zyx, PATCH).any()
        for start, patch, size in zip(place.start_zyx, PATCH, label.shape, strict=True):
            assert 0 <= start <= size - patch or (size < patch and start == -((patch - size) // 2))


def test_a_patch_drawn_on_a_vessel_has_it_in_the_centre_away_from_borders() -> None:
    """The one vessel voxel of a large volume is the centre of the patch."""
    label = np.zeros((20, 60, 60), np.uint8)
    label[10, 30, 31] = 1
    foreground = Foreground(shapes_zyx=(label.shape,), flat_indices=(np.flatnonzero(label),))
    place = _draw(foreground, 1.0, 1)[0]
    assert cut(label, place.start_zyx, PATCH)[2, 8, 8] == 1


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_the_foreground_share_is_the_probability_of_a_centred_patch(share: float) -> None:
    """Over many draws the share comes out (a lone vessel voxel is next to never met by chance)."""
    label = np.zeros((40, 400, 400), np.uint8)
    label[20, 200, 200] = 1
    foreground = Foreground(shapes_zyx=(label.shape,), flat_indices=(np.flatnonzero(label),))
    centred = [place.start_zyx == (18, 192, 192) for place in _draw(foreground, share, 1000)]
    assert np.mean(centred) == pytest.approx(share, abs=0.05)


@pytest.mark.parametrize(("axis", "room"), [(0, 4), (1, 2), (2, 7)])
def test_a_patch_away_from_vessels_starts_anywhere_from_the_first_place_to_the_last(axis: int, room: int) -> None:
    """Each start along an axis is as likely; the one that ends with the volume is among them."""
    shape = (PATCH[0] + 4, PATCH[1] + 2, PATCH[2] + 7)
    starts = [place.start_zyx[axis] for place in _draw(_with_vessels(shape, (0, 0, 0)), 0.0, 4000)]
    counts = np.bincount(starts)
    assert len(counts) == room + 1
    np.testing.assert_allclose(counts / len(starts), 1 / (room + 1), atol=0.03)


def test_a_patch_as_large_as_the_volume_is_the_volume() -> None:
    """There is one start, with vessels and without."""
    for share in (0.0, 1.0):
        assert {place.start_zyx for place in _draw(_with_vessels(PATCH, (3, 15, 0)), share, 20)} == {(0, 0, 0)}


@pytest.mark.parametrize(
    ("voxel", "start"),
    [((0, 0, 0), (0, 0, 0)), ((19, 49, 59), (16, 34, 44)), ((0, 49, 30), (0, 34, 22)), ((10, 8, 51), (8, 0, 43))],
    ids=["first corner", "last corner", "both borders", "just inside"],
)
def test_a_vessel_at_a_border_gets_the_patch_that_ends_there(
    voxel: tuple[int, int, int], start: tuple[int, int, int]
) -> None:
    """The patch is moved inside by as much as it must be, and reaches the volume's last voxel."""
    assert _draw(_with_vessels((20, 50, 60), voxel), 1.0, 1)[0].start_zyx == start


def test_each_volume_and_each_vessel_voxel_is_as_likely() -> None:
    """A large volume, or one with many vessels, does not crowd out the others."""
    places = [(10, 20, 20), (10, 20, 40), (10, 40, 20)]
    large = _with_vessels((20, 60, 60), *places)
    small = _with_vessels((8, 20, 20), (4, 8, 8))
    both = Foreground(
        shapes_zyx=large.shapes_zyx + small.shapes_zyx, flat_indices=large.flat_indices + small.flat_indices
    )
    drawn = _draw(both, 1.0, 3000)
    assert np.mean([place.volume for place in drawn]) == pytest.approx(0.5, abs=0.03)
    for z, y, x in places:
        start = (z - PATCH[0] // 2, y - PATCH[1] // 2, x - PATCH[2] // 2)
        share = np.mean([(place.volume, place.start_zyx) == (0, start) for place in drawn])
        assert share == pytest.approx(1 / 6, abs=0.03)


def test_a_volume_without_foreground_still_gives_patches() -> None:
    """Foreground is wished for, not needed."""
    foreground = _with_vessels((8, 20, 20))
    assert len({place.start_zyx for place in _draw(foreground, 1.0, 50)}) > 10


@given(start=st.tuples(*[st.integers(-3, 6)] * 3))
def test_cutting_equals_indexing_the_volume_with_its_border_repeated(start: tuple[int, int, int]) -> None:
    """Compared voxel by voxel with an index that stays inside."""
    volume = np.arange(5 * 6 * 7).reshape(5, 6, 7)
    patch = (4, 4, 4)
    index = np.ix_(
        *[np.clip(np.arange(s, s + p), 0, n - 1) for s, p, n in zip(start, patch, volume.shape, strict=True)]
    )
    if all(s < n and s + p > 0 for s, p, n in zip(start, patch, volume.shape, strict=True)):
        np.testing.assert_array_equal(cut(volume, start, patch), volume[index])


def test_a_cut_patch_is_a_copy() -> None:
    """What happens to a patch later must not reach the volume, padded or not."""
    volume = np.zeros((5, 6, 7), np.uint8)
    for start in ((0, 0, 0), (-1, -1, 4)):
        cut(volume, start, (4, 4, 4))[:] = 1
    assert not volume.any()


def test_memory_for_centres_is_bounded_and_their_choice_follows_from_the_seed(volumes: list[Volume]) -> None:
    """A volume full of vessels keeps CENTRES_PER_VOLUME centres, in order, the same ones each time."""
    big = volumes[0]
    np.save(big.folder / "label.npy", np.ones((30, 40, 50), np.uint8))
    whole = replace(big, shape_zyx=(30, 40, 50))
    first, again, other = (index_foreground([whole], seed).flat_indices[0] for seed in (1, 1, 2))
    assert len(first) == CENTRES_PER_VOLUME
    np.testing.assert_array_equal(first, np.unique(first))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    alike = index_foreground([whole, whole], 1).flat_indices
    assert (alike[0] != alike[1]).any(), "each volume has its own draw"


def test_a_volume_with_few_vessel_voxels_keeps_them_all(volumes: list[Volume]) -> None:
    """Flat indices of the label, volume by volume."""
    foreground = index_foreground(volumes, seed=0)
    assert foreground.shapes_zyx == tuple(volume.shape_zyx for volume in volumes)
    for volume, indices in zip(volumes, foreground.flat_indices, strict=True):
        np.testing.assert_array_equal(indices, np.flatnonzero(volume.label()))
