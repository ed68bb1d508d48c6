"""The picture of a prediction: slice, size and outline."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from stages.common.tiling.volume import DiskVolume
from stages.predict.files.picture import GAP, MAX_SIDE, OUTLINE_RGB, write_picture

SHAPE = (5, 20, 30)


def picture(
    folder: Path, image: NDArray[np.uint8], mask: NDArray[np.bool_], spacing_um: tuple[float, float, float]
) -> NDArray[np.uint8]:
    """The pixels (y, x, colour) of the picture that is written."""
    with DiskVolume(folder / "volume", image.shape, np.uint8) as volume:
        write_picture(folder / "a.png", volume.append(iter(image)), mask, spacing_um)
    with Image.open(folder / "a.png") as opened:
        assert opened.format == "PNG"
        return np.array(opened)


def panels(pixels: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """Slice and projection, each plain and marked, separated by white gaps."""
    height, width = (pixels.shape[0] - GAP) // 2, (pixels.shape[1] - GAP) // 2
    gaps = pixels[height : height + GAP], pixels[:, width : width + GAP]
    assert all((gap == 255).all() for gap in gaps)
    rows, columns = (slice(0, height), slice(height + GAP, None)), (slice(0, width), slice(width + GAP, None))
    return [pixels[row, column] for row in rows for column in columns]


def stack() -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Noise with a large vessel in slice 3 and a small one in slice 1."""
    image = np.random.default_rng(0).integers(0, 200, SHAPE).astype(np.uint8)
    mask = np.zeros(SHAPE, dtype=np.bool_)
    mask[3, 5:12, 8:20] = True
    mask[1, 15:18, 2:5] = True
    return image, mask


def grey_of(plane: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """0 to 255 between the percentiles 0.5 and 99.5."""
    low, high = np.percentile(plane, [0.5, 99.5])
    return np.rint(np.clip((plane - low) / (high - low), 0, 1) * 255).astype(np.uint8)


def test_above_is_the_slice_with_most_vessel_and_below_the_projection(tmp_path: Path) -> None:
    """Left in grey, right the same with the mask's outline."""
    image, mask = stack()
    plain, marked, projected, projected_marked = panels(picture(tmp_path, image, mask, (4.0, 1.0, 1.0)))
    for left, right, grey, vessel in (
        (plain, marked, grey_of(image[3]), mask[3]),
        (projected, projected_marked, grey_of(image.max(axis=0)), mask.any(axis=0)),
    ):
        np.testing.assert_array_equal(left, np.repeat(grey[..., None], 3, axis=2))
        is_outline = (right == OUTLINE_RGB).all(axis=2)
        inner = vessel[1:-1, 1:-1] & vessel[:-2, 1:-1] & vessel[2:, 1:-1] & vessel[1:-1, :-2] & vessel[1:-1, 2:]
        np.testing.assert_array_equal(is_outline, vessel & ~np.pad(inner, 1))
        np.testing.assert_array_equal(right[~is_outline], left[~is_outline])


def test_without_a_vessel_the_middle_slice_is_shown(tmp_path: Path) -> None:
    """Nothing is outlined."""
    image, mask = stack()
    plain, marked, *_ = panels(picture(tmp_path, image, mask & False, (4.0, 1.0, 1.0)))
    np.testing.assert_array_equal(plain[..., 0], grey_of(image[2]))
    np.testing.assert_array_equal(plain, marked)


@pytest.mark.parametrize(
    ("shape", "spacing_um", "width", "height"),
    [
        ((2, 20, 30), (9.0, 1.0, 1.0), 30, 20),
        ((2, 20, 30), (9.0, 2.0, 1.0), 30, 40),
        ((2, 20, 30), (9.0, 0.5, 1.5), 90, 20),
        ((2, 10, 2 * MAX_SIDE), (9.0, 1.0, 1.0), MAX_SIDE, 5),
        ((2, 4 * MAX_SIDE, 1), (9.0, 1.0, 1.0), 1, MAX_SIDE),
    ],
)
def test_pixels_are_square_in_um(
    tmp_path: Path, shape: tuple[int, int, int], spacing_um: tuple[float, float, float], width: int, height: int
) -> None:
    """One pixel per voxel along the finer axis; panels are at most 800 pixels wide and high."""
    image = np.random.default_rng(1).integers(0, 200, shape).astype(np.uint8)
    pixels = picture(tmp_path, image, image > 250, spacing_um)
    assert pixels.shape == (2 * height + GAP, 2 * width + GAP, 3)


def test_a_stack_without_contrast_is_black(tmp_path: Path) -> None:
    """A constant image does not divide by 0."""
    plain, *_ = panels(picture(tmp_path, np.full(SHAPE, 7, np.uint8), np.zeros(SHAPE, np.bool_), (1.0, 1.0, 1.0)))
    assert not plain.any()
