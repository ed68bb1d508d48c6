"""Stacks in other forms than TIFF and NIfTI, and one channel of several, as a file that every stage reads."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import tifffile
from numpy.typing import NDArray

from stages.common.imaging.formats.geometry import Geometry, nifti_affine
from stages.common.imaging.formats.opened import OpenStack
from stages.common.imaging.spacing import spacing_of

_MAX_NIFTI_1_AXIS = 2**15 - 1  # its sizes have 16 bits
_MAX_PLAIN_TIFF_BYTES = 2**32 - 2**25


def write_plain(stack: OpenStack, stem: Path) -> Path:
    """Write `stack` to `stem` with a suffix: .nii for one that says where it is in the world, else .tif.

    Equal stacks give equal bytes. Values stay as they are, but boolean ones become 0 and 1.
    """
    dtype = np.dtype(np.uint8) if stack.dtype.kind == "b" else stack.dtype
    if stack.geometry is not None and stack.geometry.affine is not None and dtype != np.float16:
        file = stem.with_name(f"{stem.name}.nii")
        _write_nifti(file, stack.read().astype(dtype, copy=False), stack.geometry)
    else:
        file = stem.with_name(f"{stem.name}.tif")
        _write_tiff(file, (plane.astype(dtype) for plane in stack.read_slices()), dtype, stack)
    return file


def _write_tiff(file: Path, planes: Iterable[NDArray[Any]], dtype: np.dtype[Any], stack: OpenStack) -> None:
    spacing_um = spacing_of(stack.header).spacing_um
    how: dict[str, Any] = {"metadata": {"axes": "ZYX"}}
    if spacing_um is not None:
        z, y, x = spacing_um
        how = {"metadata": {"axes": "ZYX", "spacing": z, "unit": "um"}, "resolution": (1 / x, 1 / y)}
    tifffile.imwrite(
        file,
        iter(planes),
        shape=stack.shape_zyx,
        dtype=dtype,
        photometric="minisblack",
        compression="zlib",
        bigtiff=int(np.prod(stack.shape_zyx)) * dtype.itemsize > _MAX_PLAIN_TIFF_BYTES,
        **how,
    )


def _write_nifti(file: Path, voxels_zyx: NDArray[Any], geometry: Geometry) -> None:
    """In the order of the array that came, under its affine."""
    axes_zyx = geometry.array_axes_zyx
    array = voxels_zyx.transpose([axes_zyx.index(axis) for axis in range(3)])
    affine, unit = nifti_affine(geometry)
    kind: Any = nibabel.Nifti2Image if max(array.shape) > _MAX_NIFTI_1_AXIS else nibabel.Nifti1Image
    image = kind(array, affine, dtype=array.dtype)
    image.set_sform(affine, code="scanner")
    image.header.set_xyzt_units(unit)
    nibabel.save(image, file)
