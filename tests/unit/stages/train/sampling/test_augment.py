import itertools
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from stages.train.params import AugmentationName
from stages.train.sampling.augment import UNCHANGED, Augmentation, change_intensity, draw_augmentation, reorient

PATCH = (4, 6, 6)


def _image() -> NDArray[np.float32]:
    return np.random.default_rng(0).random(PATCH, dtype=np.float32)


def _drawn(count: int, patch: tuple[int, int, int] = PATCH) -> list[Augmentation]:
    rng = np.random.default_rng(0)
    return [draw_augmentation(rng, AugmentationName.STANDARD, patch) for _ in range(count)]


def test_unchanged_changes_nothing_and_none_draws_it() -> None:
    """The defaults are the identity, bit for bit."""
    image, rng = _image(), np.random.default_rng(0)
    assert draw_augmentation(rng, AugmentationName.NONE, PATCH) is UNCHANGED
    np.testing.assert_array_equal(change_intensity(reorient(image, UNCHANGED), UNCHANGED, rng), image)


def test_every_orientation_of_the_plane_and_of_depth_is_drawn() -> None:
    """8 orientations in-plane × 2 along z, all met, and nothing beside them."""
    image = _image()
    seen = {reorient(image, augmentation).tobytes() for augmentation in _drawn(500)}
    expected = {
        np.ascontiguousarray(np.rot90(side, turns, axes=(1, 2))[::depth]).tobytes()
        for side in (image, image.swapaxes(1, 2))
        for turns in range(4)
        for depth in (1, -1)
    }
    assert seen == expected


def test_turns_keep_the_shape_of_an_oblong_patch() -> None:
    """A patch that is not square is turned by half turns only."""
    oblong = np.zeros((4, 6, 10), np.uint8)
    assert {reorient(oblong, augmentation).shape for augmentation in _drawn(100, (4, 6, 10))} == {(4, 6, 10)}


def test_turns_and_flips_are_undone_by_their_inverse() -> None:
    """Flipping back and turning back gives the patch."""
    image = _image()
    for augmentation in _drawn(20):
        turned = reorient(image, augmentation)
        back = np.rot90(np.flip(turned, augmentation.flipped_axes), -augmentation.quarter_turns, axes=(1, 2))
        np.testing.assert_array_equal(back, image)


@pytest.mark.parametrize(
    ("name", "unchanged", "share", "lowest", "highest"),
    [
        ("blur_sigma_voxels", 0.0, 0.15, 0.5, 1.0),
        ("noise_deviation", 0.0, 0.3, 0.05, 0.3),
        ("contrast", 1.0, 0.3, 0.7, 1.4),
        ("brightness", 0.0, 0.3, -0.5, 0.5),
        ("gamma", 1.0, 0.3, np.exp(-0.4), np.exp(0.4)),
    ],
)
def test_each_change_of_intensity_is_drawn_as_often_as_it_should_be_and_over_its_whole_range(
    name: str, unchanged: float, share: float, lowest: float, highest: float
) -> None:
    """As often as the module says, from one end of its range to the other; over many draws."""
    values = np.array([getattr(augmentation, name) for augmentation in _drawn(4000)])
    applied = values[values != unchanged]
    assert len(applied) / len(values) == pytest.approx(share, abs=0.03)
    tenth = 0.1 * (highest - lowest)
    assert lowest <= applied.min() < lowest + tenth
    assert highest - tenth < applied.max() <= highest


def test_each_axis_is_flipped_half_of_the_time_and_each_quarter_turn_is_as_likely() -> None:
    """No orientation is preferred."""
    drawn = _drawn(4000)
    for axis in range(3):
        flipped = [axis in augmentation.flipped_axes for augmentation in drawn]
        assert np.mean(flipped) == pytest.approx(0.5, abs=0.03)
    turns = np.bincount([augmentation.quarter_turns for augmentation in drawn]) / len(drawn)
    np.testing.assert_allclose(turns, [0.25] * 4, atol=0.03)


class _Choosing(np.random.Generator):
    """Draws as the others do, but for which of the five changes of intensity apply."""

    applies: tuple[bool, ...]

    def random(self, size: int) -> NDArray[np.float64]:  # type: ignore[override]  # the one form that is called
        drawn = super().random(size)
        return np.where(self.applies, 0.0, 1.0) if size == len(self.applies) else drawn


def test_no_parameter_depends_on_whether_another_applies() -> None:
    """Every parameter is always drawn: with one seed it has one value, whatever else happens to the patch."""
    names = ("blur_sigma_voxels", "noise_deviation", "contrast", "brightness", "gamma")
    values: dict[str, set[object]] = {name: set() for name in names}
    orientations = set()
    for applies in itertools.product((False, True), repeat=len(names)):
        rng = _Choosing(np.random.PCG64(3))
        rng.applies = applies
        augmentation = draw_augmentation(rng, AugmentationName.STANDARD, PATCH)
        orientations.add((augmentation.flipped_axes, augmentation.quarter_turns))
        for name, applied in zip(names, applies, strict=True):
            assert (getattr(augmentation, name) != getattr(UNCHANGED, name)) == applied
            if applied:
                values[name].add(getattr(augmentation, name))
    assert {name: len(found) for name, found in values.items()} == dict.fromkeys(names, 1)
    assert len(orientations) == 1


@pytest.mark.parametrize(
    ("augmentation", "expected"),
    [
        (Augmentation(contrast=1.3), lambda x: (x - x.mean()) * 1.3 + x.mean()),
        (Augmentation(brightness=0.4), lambda x: x + 0.4 * x.std()),
        (Augmentation(contrast=0.7, brightness=-0.3), lambda x: (x - x.mean()) * 0.7 + x.mean() - 0.3 * x.std()),
        (Augmentation(gamma=1.5), lambda x: ((x - x.min()) / np.ptp(x)) ** 1.5 * np.ptp(x) + x.min()),
    ],
)
def test_intensity_follows_its_formula(
    augmentation: Augmentation, expected: Callable[[NDArray[np.float64]], NDArray[np.float64]]
) -> None:
    """Compared with the formula written out in float64; the patch itself stays as it was."""
    image = _image()
    changed = change_intensity(image, augmentation, np.random.default_rng(0))
    assert changed.dtype == np.float32
    np.testing.assert_allclose(changed, expected(image.astype(np.float64)), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(image, _image())


def test_all_changes_of_intensity_together_follow_one_another_in_their_order() -> None:
    """Blur, noise, contrast and brightness, gamma; mean and deviation are those of the blurred patch."""
    everything = Augmentation(blur_sigma_voxels=0.7, noise_deviation=0.2, contrast=1.3, brightness=0.4, gamma=1.5)
    image = _image().astype(np.float64)
    image = ndimage.gaussian_filter(image, (0, 0.7, 0.7), truncate=2)
    mean, deviation = image.mean(), image.std()
    image = image + 0.2 * deviation * np.random.default_rng(5).standard_normal(PATCH, dtype=np.float32)
    image = (image - mean) * 1.3 + mean + 0.4 * deviation
    low, high = image.min(), image.max()
    image = ((image - low) / (high - low)) ** 1.5 * (high - low) + low
    changed = change_intensity(_image(), everything, np.random.default_rng(5))
    np.testing.assert_allclose(changed, image, rtol=1e-4, atol=1e-5)


def test_noise_has_the_wanted_deviation_and_is_another_in_every_voxel() -> None:
    """Noise is measured in deviations of the patch, and its mean is 0."""
    image = np.random.default_rng(1).random((8, 64, 64), dtype=np.float32)
    noise = change_intensity(image, Augmentation(noise_deviation=0.2), np.random.default_rng(2)) - image
    assert noise.std() == pytest.approx(0.2 * image.std(), rel=0.02)
    assert abs(noise.mean()) < 0.01 * image.std()
    for axis in range(3):
        neighbours = np.corrcoef(np.delete(noise, 0, axis).ravel(), np.delete(noise, -1, axis).ravel())[0, 1]
        assert abs(neighbours) < 0.05, f"axis {axis}"


def test_blur_is_gaussian_within_a_slice_and_crosses_to_no_other() -> None:
    """A bright voxel becomes the product of a Gaussian along y and one along x; its neighbours along z stay dark."""
    image = np.zeros((5, 13, 13), np.float32)
    image[2, 6, 6] = 1
    sigma = 1.0
    blurred = change_intensity(image, Augmentation(blur_sigma_voxels=sigma), np.random.default_rng(0))
    distance = np.arange(13) - 6
    profile = np.where(np.abs(distance) <= 2, np.exp(-(distance**2) / (2 * sigma**2)), 0)
    profile /= profile.sum()
    np.testing.assert_allclose(blurred[2], np.outer(profile, profile), atol=1e-6)
    assert not np.delete(blurred, 2, axis=0).any()


def test_a_constant_patch_stays_finite() -> None:
    """No transform divides by a range of zero."""
    flat = np.full(PATCH, 0.5, np.float32)
    for augmentation in _drawn(200):
        assert np.isfinite(change_intensity(flat, augmentation, np.random.default_rng(0))).all()
