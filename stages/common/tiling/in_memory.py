"""A stack in memory through a network: what `capillary predict` does with one on the disk, to the same bits."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.common.imaging.intensities.normalise import apply_scale, measure_scale
from stages.common.imaging.recipe import Recipe
from stages.common.imaging.zyx import Shape
from stages.common.inference import BATCH_SIZE
from stages.common.tiling.resampling import resample_slices
from stages.common.tiling.tiles import Predict, finite, predict_slices, tile


def probability_of(
    stack_zyx: NDArray[Any], grid: Shape, recipe: Recipe, patch_voxels: Shape, overlap: float, predict: Predict
) -> NDArray[np.float32]:
    """Foreground probability, float32 in [0, 1], of the stack's shape; the network sees it on `grid`.

    `predict` maps patches (B, 1, z, y, x) to their probability. Raises DataError for a stack without contrast.
    """
    scale = measure_scale(stack_zyx, recipe)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        seen = _on(grid, stack_zyx, folder)

        def read(z: slice, y: slice) -> NDArray[np.float32]:
            return apply_scale(seen[z, y], scale)

        tiling = tile(grid, patch_voxels, overlap)
        slices = predict_slices(read, predict, tiling, folder / "sums", BATCH_SIZE, lambda: None)
        return _on(stack_zyx.shape, np.stack([finite(plane) for plane in slices]), folder)


def _on(shape_zyx: tuple[int, ...], image_zyx: NDArray[Any], folder: Path) -> NDArray[Any]:
    if image_zyx.shape == shape_zyx:
        return image_zyx
    z, y, x = shape_zyx
    return np.stack(list(resample_slices(image_zyx, (z, y, x), folder / "in_plane")))
