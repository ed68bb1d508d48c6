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


def test_a_volume_without_foreground_still_gives_patches() -> None:
    """Foreground is wished for, not needed."""
    foreground = Foreground(shapes_zyx=((8, 20, 20),), flat_indices=(np.empty(0, np.int64),))
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


def test_memory_for_centres_is_bounded_and_their_choice_follows_from_the_seed(
    tmp_path: object, volumes: list[Volume]
) -> None:
    """A volume full of vessels keeps CENTRES_PER_VOLUME centres, the same ones each time."""
    big = volumes[0]
    np.save(big.folder / "label.npy", np.ones((30, 40, 50), np.uint8))
    whole = Volume(**{**vars(big), "shape_zyx": (30, 40, 50)})
    first, again, other = (index_foreground([whole], seed).flat_indices[0] for seed in (1, 1, 2))
    assert len(first) == CENTRES_PER_VOLUME == len(np.unique(first))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
