"""Tiny stacks on the disk and the tasks that prepare them."""

from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from stages.preprocess.params import Preprocess
from stages.preprocess.prepare import Task
from stages.preprocess.raw import RawVolume
from stages.preprocess.resample import target_grid

PARAMS: dict[str, Any] = {
    "normalisation": "percentile",
    "percentile_low": 0.5,
    "percentile_high": 99.5,
    "resample_to_um": None,
    "max_volumes": None,
    "num_folds": 2,
    "splits_file": "configs/splits/generated.json",
    "test_groups": None,
    "seed": 0,
}


def make_task(
    folder: Path, name: str = "stack", shape: tuple[int, int, int] = (6, 30, 32), dtype: str = "uint8", **params: Any
) -> Task:
    """A noisy stack with a bright bar along x, label {0, 255}, in `folder`/raw; spacing 4 × 1 × 1 µm."""
    raw = folder / "raw" / name
    raw.mkdir(parents=True)
    rng = np.random.default_rng(sum(map(ord, name)))
    label = np.zeros(shape, dtype=np.uint8)
    label[2:5, shape[1] // 3 : shape[1] // 2, 2:-2] = 255
    image = (rng.gamma(2.0, 8.0, shape) + 0.4 * label).clip(0, 250).astype(dtype)
    tifffile.imwrite(raw / "image.tif", image, photometric="minisblack")
    tifffile.imwrite(raw / "label.tif", label, photometric="minisblack")
    volume = RawVolume(
        id=name,
        group=name,
        image=raw / "image.tif",
        label=raw / "label.tif",
        shape_zyx=shape,
        spacing_um=(4.0, 1.0, 1.0),
        content=name,
    )
    chosen = Preprocess(**PARAMS | params)
    shape_zyx, spacing_um = target_grid(volume, chosen.resample_to_um)
    return Task(
        raw=volume, shape_zyx=shape_zyx, spacing_um=spacing_um, folder=folder / "processed" / name, params=chosen
    )
