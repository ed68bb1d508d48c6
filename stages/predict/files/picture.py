"""A picture of a prediction: the slice with most vessel and the projection along z, plain and with the mask on it."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import binary_erosion

from stages.common.imaging.intensities.normalise import to_grey
from stages.common.imaging.zyx import Spacing
from stages.common.tiling.volume import Volume

MAX_SIDE = 800  # pixels of one of the four panels
GAP = 8  # pixels between them
OUTLINE_RGB = (240, 228, 66)  # yellow of Okabe & Ito (2008)

Bytes = NDArray[np.uint8]
Mask = NDArray[np.bool_]


def write_picture(file: Path, image: Volume, mask: Iterable[NDArray[Any]], spacing_um: Spacing) -> None:
    """Write a PNG: above the slice, below the projection; left plain, right with the mask's outline.

    Pixels are square in µm: a stack that is coarser along y or x is drawn larger there.
    """
    depth, *plane = image.shape
    counts = np.zeros(depth, dtype=np.int64)
    brightest = np.full(plane, -np.inf, dtype=np.float32)
    any_vessel = np.zeros(plane, dtype=np.bool_)
    for z, (grey, vessel) in enumerate(zip(image, mask, strict=True)):
        counts[z] = np.count_nonzero(vessel)
        np.maximum(brightest, grey, out=brightest, casting="unsafe")
        any_vessel |= vessel > 0
    z = int(counts.argmax()) if counts.any() else depth // 2
    shown = image.read(slice(z, z + 1), slice(0, plane[0]))[0].astype(np.float32)
    chosen = next(vessel > 0 for number, vessel in enumerate(mask) if number == z)
    size = _size(plane, spacing_um)
    above, below = _row(shown, chosen, size), _row(brightest, any_vessel, size)
    gap = np.full((GAP, above.shape[1], 3), 255, dtype=np.uint8)
    Image.fromarray(np.concatenate([above, gap, below])).save(file, format="PNG", optimize=True)


def _size(plane: list[int], spacing_um: Spacing) -> tuple[int, int]:
    """Width and height of a panel in pixels."""
    extent_um = plane[1] * spacing_um[2], plane[0] * spacing_um[1]
    pixel_um = max(max(extent_um) / MAX_SIDE, min(spacing_um[1:]))
    width, height = (max(1, round(side / pixel_um)) for side in extent_um)
    return width, height


def _row(image_yx: NDArray[np.float32], mask_yx: Mask, size: tuple[int, int]) -> Bytes:
    grey = np.array(Image.fromarray(to_grey(image_yx)).resize(size, Image.Resampling.BILINEAR))
    plain = np.repeat(grey[..., None], 3, axis=2)
    mask = np.array(Image.fromarray(mask_yx.astype(np.uint8)).resize(size, Image.Resampling.NEAREST), dtype=np.bool_)
    marked = plain.copy()
    marked[mask & ~binary_erosion(mask)] = OUTLINE_RGB
    gap = np.full((len(plain), GAP, 3), 255, dtype=np.uint8)
    return np.concatenate([plain, gap, marked], axis=1)
