"""A label that has the shape of its image, and yet does not lie on it."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from stages.ingest.labels.fit import doubt_of_fit, sample_of

Mask = NDArray[np.uint8]


def _vessel(shape: tuple[int, int, int] = (12, 48, 40), seed: int = 0) -> Mask:
    """A tenth of the voxels, in pieces of some voxels."""
    smooth = gaussian_filter(np.random.default_rng(seed).normal(size=shape), (1, 2, 2))
    return (smooth > np.quantile(smooth, 0.9)).astype(np.uint8)


def _image(vessel: Mask, contrast: float = 2.0) -> NDArray[np.float32]:
    return (np.random.default_rng(9).normal(size=vessel.shape) + contrast * vessel).astype(np.float32)


@pytest.mark.parametrize("contrast", [2.0, 0.5, -2.0])
def test_a_label_that_lies_on_its_image_is_no_doubt(contrast: float) -> None:
    """Also where the contrast is low, and where vessels are dark."""
    assert doubt_of_fit(sample_of(_image(_vessel(), contrast)), _vessel()) == ""


@pytest.mark.parametrize(
    ("turned", "words"),
    [
        (_vessel()[:, ::-1], "y reversed"),
        (_vessel()[::-1, :, ::-1], "z, x reversed"),
        (np.roll(_vessel(), 1, axis=0), "moved by -1 along z"),
        (np.roll(_vessel(), -2, axis=0), "moved by +2 along z"),
        (_vessel(seed=1), "does not follow the image"),
    ],
)
def test_a_label_that_lies_elsewhere_is_a_doubt(turned: Mask, words: str) -> None:
    """Its shape is right, and it would be trained on."""
    assert words in doubt_of_fit(sample_of(_image(_vessel())), turned)


def test_axes_that_are_exchanged_are_a_doubt() -> None:
    """Of a square slice nothing else shows it."""
    vessel = _vessel((12, 44, 44))
    said = doubt_of_fit(sample_of(_image(vessel)), vessel.transpose(0, 2, 1)[:, ::-1])
    assert "its axes exchanged and x reversed" in said or "its axes exchanged and y reversed" in said


def test_voxels_that_nobody_labelled_say_nothing() -> None:
    """The label is right where somebody labelled, and nothing elsewhere."""
    vessel, labelled = _vessel(), np.zeros((12, 48, 40), np.bool_)
    labelled[2:9] = True
    sample = sample_of(_image(vessel))
    assert doubt_of_fit(sample, vessel * labelled, labelled) == ""
    assert "y reversed" in doubt_of_fit(sample, (vessel * labelled)[:, ::-1], labelled)
    labelled[3:] = False
    assert doubt_of_fit(sample, (vessel * labelled)[:, ::-1], labelled) == ""  # too few to tell


def test_an_image_without_contrast_is_no_doubt() -> None:
    """As slices that are all alike, and values as far apart as a type allows."""
    vessel = _vessel()
    flat = np.ones(vessel.shape) * np.arange(12)[:, None, None]
    assert doubt_of_fit(sample_of(flat), vessel) == ""
    wide = np.where(vessel > 0, 1, -1) * np.finfo(np.float64).max
    assert doubt_of_fit(sample_of(wide), vessel) == ""
    assert doubt_of_fit(sample_of(vessel > 0), vessel) == ""


def test_a_sample_of_a_large_stack_is_small() -> None:
    """A part of each slice, at the same places in image and label."""
    vessel = np.zeros((3, 2000, 1500), np.uint8)
    vessel[:, 200:400, 100:300] = 1
    sample = sample_of(vessel * np.uint16(500))
    assert sample.values.shape[0] == 3
    assert sample.values.size <= 2**18
    assert sample.values.shape == sample.of(vessel).shape
    assert "y reversed" in doubt_of_fit(sample, vessel[:, ::-1])
