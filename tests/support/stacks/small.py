"""A small stack, and files that hold it in the ways in which people save stacks."""

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import tifffile
from numpy.typing import NDArray

from stages.common.imaging.zyx import Spacing
from tests.support.stacks.plain import read_header

STACK = np.random.default_rng(7).integers(0, 200, size=(6, 40, 33)).astype(np.uint8)

TIFF_KINDS: dict[str, dict[str, Any]] = {
    "plain": {"metadata": None},
    "shaped": {},
    "zlib": {"compression": "zlib"},
    "lzw": {"compression": "lzw", "metadata": None},
    "packbits": {"compression": "packbits", "metadata": None},
    "tiled": {"tile": (16, 16), "compression": "zlib"},
    "strips": {"rowsperstrip": 5, "compression": "zlib", "metadata": None},
    "bigtiff": {"bigtiff": True, "compression": "zlib"},
    "big_endian": {"byteorder": ">", "metadata": None},
    "ome": {"ome": True},
    "ome_zlib": {"ome": True, "compression": "zlib"},
    "imagej": {"imagej": True, "metadata": {"axes": "ZYX"}},
}


nifti: Any = nibabel.Nifti1Image  # its methods carry no types


def declared_um(path: Path) -> Spacing | None:
    return read_header(path).spacing.declared_um


def save_tiff(path: Path, stack: NDArray[Any], **how: Any) -> Path:
    tifffile.imwrite(path, stack, **how)
    return path


def save_nifti(path: Path, stack_zyx: NDArray[Any], zooms_xyz: tuple[float, ...], unit: str | None) -> Path:
    image = nifti(stack_zyx.T, np.diag([*zooms_xyz[:3], 1.0]))
    image.header.set_zooms(zooms_xyz)
    if unit is not None:
        image.header.set_xyzt_units(unit)
    nibabel.save(image, path)
    return path
