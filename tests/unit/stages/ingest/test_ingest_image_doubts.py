"""Images that were harmed when they were saved."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from stages.ingest.image_doubts import doubts_about
from stages.ingest.labels.fit import sample_of

Image = NDArray[Any]


def _image(highest: int, spots: int = 60) -> Image:
    """Blurred bright spots on a dark ground with noise, from 0 to about `highest`."""
    rng = np.random.default_rng(0)
    image = np.zeros((8, 64, 64))
    image[tuple(rng.integers(0, side, spots) for side in image.shape)] = 1
    image = gaussian_filter(image, (1, 2, 2))
    return np.clip(image / image.max() * highest + rng.normal(size=image.shape) * highest / 100, 0, None)


def _said(image: Image) -> list[str]:
    return list(doubts_about(image, sample_of(image).contrast_z))


@pytest.mark.parametrize(
    "image",
    [
        _image(250).astype(np.uint8),
        _image(60_000).astype(np.uint16),
        _image(30_000).astype(np.int16),
        (_image(60_000) - 2**15).astype(np.int16),  # as programs store unsigned numbers in a signed type
        np.clip(_image(800), 0, 255).astype(np.uint8),  # saturated
        _image(1).astype(np.float32),
        np.random.default_rng(1).poisson(_image(40)).astype(np.uint8),
    ],
)
def test_an_image_as_microscopes_give_it_is_no_doubt(image: Image) -> None:
    """Whatever part of its type it fills."""
    assert _said(image) == []


@pytest.mark.parametrize(
    ("image", "dtype"), [(_image(4000), "uint8"), (_image(60_000), "int16"), (_image(250), "int8")]
)
def test_numbers_that_were_wrapped_are_a_doubt(image: Image, dtype: str) -> None:
    """As NumPy's astype does it: the brightest vessels come out dark."""
    wrapped = image.astype(np.int64).astype(dtype)
    assert _said(wrapped) == [
        f"neighbouring voxels often differ by nearly all that {dtype} can hold; were larger values wrapped on saving?"
    ]


def test_blank_slices_between_others_are_a_doubt() -> None:
    """Not those at an end, which a registration leaves, and not dark ones with a single bright voxel."""
    image = _image(250).astype(np.uint8)
    image[[0, 2, 4, 5, 7]] = 0
    image[2, 3, 3] = 1
    assert _said(image) == [
        "all voxels are equal in 2 slices between others (5-6) of the image; was something lost on saving?"
    ]
