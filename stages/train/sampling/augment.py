"""Augmentation of patches. Drawing the parameters of one augmentation is kept apart from applying it.

The intensity transforms are relative to the patch's own mean, range and deviation, so they mean the same whichever
way preprocess normalised the image.
"""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from stages.train.params import AugmentationName

Scalar = TypeVar("Scalar", bound=np.generic)


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Parameters of one augmentation; the defaults change nothing."""

    flipped_axes: tuple[int, ...] = ()  # of z, y, x
    quarter_turns: int = 0  # in-plane, from y towards x
    blur_sigma_voxels: float = 0.0  # in-plane
    noise_deviation: float = 0.0  # in deviations of the patch
    contrast: float = 1.0  # factor around the patch's mean
    brightness: float = 0.0  # shift in deviations of the patch
    gamma: float = 1.0  # exponent within the patch's range


UNCHANGED = Augmentation()


def draw_augmentation(
    rng: np.random.Generator, name: AugmentationName, patch_zyx: tuple[int, int, int]
) -> Augmentation:
    """The augmentation of one patch. Every parameter is always drawn, so none depends on whether another applies."""
    if name is AugmentationName.NONE:
        return UNCHANGED
    flips, applies = rng.random(3), rng.random(5)
    turns = int(rng.integers(4))
    blur, noise = rng.uniform(0.5, 1.0), rng.uniform(0.05, 0.3)
    contrast, brightness, gamma = rng.uniform(0.7, 1.4), rng.uniform(-0.5, 0.5), np.exp(rng.uniform(-0.4, 0.4))
    _, rows, columns = patch_zyx
    return Augmentation(
        flipped_axes=tuple(axis for axis in range(3) if flips[axis] < 0.5),
        quarter_turns=turns if rows == columns else 2 * (turns // 2),  # a quarter turn would change the patch's shape
        blur_sigma_voxels=float(blur) if applies[0] < 0.15 else 0.0,
        noise_deviation=float(noise) if applies[1] < 0.3 else 0.0,
        contrast=float(contrast) if applies[2] < 0.3 else 1.0,
        brightness=float(brightness) if applies[3] < 0.3 else 0.0,
        gamma=float(gamma) if applies[4] < 0.3 else 1.0,
    )


def reorient(array_zyx: NDArray[Scalar], augmentation: Augmentation) -> NDArray[Scalar]:
    """The flips and turns of `augmentation`: for the image and its masks alike."""
    turned = np.rot90(array_zyx, augmentation.quarter_turns, axes=(1, 2))
    return np.ascontiguousarray(np.flip(turned, augmentation.flipped_axes))


def change_intensity(
    image_zyx: NDArray[np.float32], augmentation: Augmentation, noise_rng: np.random.Generator
) -> NDArray[np.float32]:
    """Blur, noise, contrast, brightness and gamma of `augmentation`, in this order; float32 again."""
    image = image_zyx
    if augmentation.blur_sigma_voxels > 0:
        sigma = augmentation.blur_sigma_voxels
        image = ndimage.gaussian_filter(image, (0.0, sigma, sigma), truncate=2.0)
    mean, deviation = float(image.mean()), float(image.std())
    if augmentation.noise_deviation > 0:
        noise = noise_rng.standard_normal(image.shape, dtype=np.float32)
        image = image + noise * np.float32(augmentation.noise_deviation * deviation)
    if augmentation.contrast != 1 or augmentation.brightness != 0:
        offset = mean * (1 - augmentation.contrast) + augmentation.brightness * deviation
        image = image * np.float32(augmentation.contrast) + np.float32(offset)
    if augmentation.gamma != 1:
        image = _apply_gamma(image, augmentation.gamma)
    return image


def _apply_gamma(image_zyx: NDArray[np.float32], gamma: float) -> NDArray[np.float32]:
    low, high = image_zyx.min(), image_zyx.max()
    if low == high:
        return image_zyx
    curved: NDArray[np.float32] = ((image_zyx - low) / (high - low)) ** np.float32(gamma) * (high - low) + low
    return curved
