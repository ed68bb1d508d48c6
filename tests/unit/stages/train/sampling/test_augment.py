from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

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
    ("augmentation", "expected"),
    [
        (Augmentation(contrast=1.3), lambda x: (x - x.mean()) * 1.3 + x.mean()),
        (Augmentation(brightness=0.4), lambda x: x + 0.4 * x.std()),
        (Augmentation(gamma=1.5), lambda x: ((x - x.min()) / np.ptp(x)) ** 1.5 * np.ptp(x) + x.min()),
    ],
)
def test_intensity_follows_its_formula(
    augmentation: Augmentation, expected: Callable[[NDArray[np.float64]], NDArray[np.float64]]
) -> None:
    """Compared with the formula written out in float64."""
    image = _image()
    changed = change_intensity(image, augmentation, np.random.default_rng(0))
    assert changed.dtype == np.float32
    np.testing.assert_allclose(changed, expected(image.astype(np.float64)), rtol=1e-4, atol=1e-5)


def test_noise_has_the_wanted_deviation_and_blur_lowers_the_deviation() -> None:
    """Noise is measured in deviations of the patch; blur acts in-plane only."""
    image = np.random.default_rng(1).random((8, 64, 64), dtype=np.float32)
    noisy = change_intensity(image, Augmentation(noise_deviation=0.2), np.random.default_rng(2))
    assert (noisy - image).std() == pytest.approx(0.2 * image.std(), rel=0.02)
    blurred = change_intensity(image, Augmentation(blur_sigma_voxels=1.0), np.random.default_rng(2))
    assert blurred.std() < 0.6 * image.std()
    np.testing.assert_allclose(blurred.mean(axis=(1, 2)), image.mean(axis=(1, 2)), rtol=0.05)


def test_a_constant_patch_stays_finite() -> None:
    """No transform divides by a range of zero."""
    flat = np.full(PATCH, 0.5, np.float32)
    for augmentation in _drawn(200):
        assert np.isfinite(change_intensity(flat, augmentation, np.random.default_rng(0))).all()
