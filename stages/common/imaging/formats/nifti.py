"""The stack in a NIfTI file: voxels in the order z, y, x, and what its header says about spacing."""

import gzip
import io
import math
import struct
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from stages.common.imaging.formats.claims import DEFLATE, FLOAT, PLAIN, Claim, refuse_impossible, refuse_large
from stages.common.imaging.formats.damage import shape_text
from stages.common.imaging.formats.geometry import Geometry, geometry_of
from stages.common.imaging.formats.header import SINGLE, SpacingEvidence, StackHeader
from stages.common.imaging.formats.nifti_head import check_head, check_whole, is_packed, unknown_steps

_TOLERANCE = 0.01  # relative: two spacings in one header that differ by more disagree
_NIFTI_2 = (540, int.from_bytes((540).to_bytes(4, "little"), "big"))  # its header's size, in either order of bytes
_NO_GEOMETRY = "the header carries no geometry and no spacing (1 × 1 × 1 {unit})"


def load_header(path: Path, *, keep_file_open: bool = False) -> Any:
    """nibabel's image, of which only the header was read. DataError if it claims what the file cannot hold."""
    check_head(path)
    image = _load(path, keep_file_open=keep_file_open)
    refuse_impossible(_claim_of(image, path), path)
    return image


def _load(path: Path, *, keep_file_open: bool) -> Any:
    """nibabel's image. nibabel goes by the name, so a file whose content is otherwise is opened for it."""
    if is_packed(path) == path.name.lower().endswith(".gz"):
        return nibabel.load(path, mmap=False, keep_file_open=keep_file_open)
    with _opened(path) as stream:
        (size,) = struct.unpack("<i", stream.read(4).ljust(4, b"\0"))
    kind: Any = nibabel.Nifti2Image if size in _NIFTI_2 else nibabel.Nifti1Image
    stream = _opened(path)
    try:
        image = kind.from_file_map(kind.make_file_map({"image": stream}), mmap=False, keep_file_open=keep_file_open)
    except BaseException:
        stream.close()
        raise
    weakref.finalize(image, stream.close)
    return image


def _opened(path: Path) -> "gzip.GzipFile | io.BufferedReader":
    return gzip.open(path) if is_packed(path) else path.open("rb")


def open_nifti(path: Path, *, keep_file_open: bool = False) -> Any:
    """nibabel's image, whose voxels are not read yet.

    The checksum of a gzip file is read first: nibabel stops before it comes to it.
    """
    image = load_header(path, keep_file_open=keep_file_open)
    if is_packed(path):
        check_whole(path, int(image.dataobj.offset) + _claim_of(image, path).stored_bytes)
    return image


def nifti_geometry(path: Path) -> Geometry:
    """Where the voxels of `path` are in the world; a pixdim of 0 stays 0."""
    geometry, unknown = geometry_of(load_header(path)), unknown_steps(path)
    known = (0.0 if is_unknown else step for step, is_unknown in zip(geometry.pixdim, unknown, strict=False))
    return replace(geometry, pixdim=tuple(known)) if any(unknown) else geometry


def nifti_claim(path: Path) -> Claim:
    """How many bytes of voxels the header speaks of, and what the file has for them."""
    return _claim_of(load_header(path), path)


def _claim_of(image: Any, path: Path) -> Claim:
    header = image.header
    claimed = math.prod(int(size) for size in header.get_data_shape()) * int(header.get_data_dtype().itemsize)
    return Claim(stored_bytes=claimed, held_bytes=path.stat().st_size, packing=DEFLATE if is_packed(path) else PLAIN)


def read_file_order(path: Path) -> NDArray[Any]:
    """The voxels in the file's own order, without axes of 1 beyond the third. TooLargeError if memory lacks."""
    _refuse_large(load_header(path), path)
    image = open_nifti(path)
    voxels: NDArray[Any] = np.asanyarray(image.dataobj)
    return voxels.reshape(geometry_of(image).shape)


def read_nifti(path: Path) -> NDArray[Any]:
    """The voxels in z, y, x. TooLargeError if memory does not hold them."""
    axes_zyx = nifti_geometry(path).array_axes_zyx
    return np.ascontiguousarray(read_file_order(path).transpose(axes_zyx))


def _refuse_large(image: Any, path: Path, axes: int | None = None) -> None:
    """Raise TooLargeError if memory does not hold the voxels of `image` along its first `axes`, by default all.

    That is as they are stored, as they are scaled where the header says so, and as a copy.
    """
    voxels = math.prod(int(size) for size in image.shape[:axes])
    slope, inter = (getattr(image.dataobj, name, None) for name in ("slope", "inter"))
    stored = int(image.header.get_data_dtype().itemsize)
    read = stored if (slope, inter) in ((1, 0), (None, None)) else np.dtype(np.float64).itemsize
    refuse_large(voxels * (stored + read + FLOAT), voxels * read, path)


def nifti_shape(path: Path) -> tuple[int, ...]:
    """Sizes in z, y, x."""
    geometry = nifti_geometry(path)
    return tuple(geometry.shape[axis] for axis in geometry.array_axes_zyx)


def nifti_dtype(path: Path) -> np.dtype[Any]:
    """The dtype after the header's scale."""
    loaded = load_header(path)
    voxel: NDArray[Any] = np.asanyarray(loaded.dataobj[(slice(0, 1),) * len(loaded.shape)])
    return voxel.dtype


def nifti_slices(path: Path) -> Iterator[NDArray[Any]]:
    """The slices (yx). A file in which z is not the last axis is read whole: its slices are all over it."""
    geometry = nifti_geometry(path)
    z_axis, y_axis, x_axis = geometry.array_axes_zyx
    if z_axis != 2 or len(load_header(path).shape) == 2:
        yield from read_nifti(path)
        return
    _refuse_large(load_header(path), path, axes=2)
    image = open_nifti(path, keep_file_open=True)  # a compressed file is read once from its beginning to its end
    extra = (0,) * (len(image.shape) - 3)
    for z in range(image.shape[2]):
        plane = np.asanyarray(image.dataobj[(slice(None), slice(None), z, *extra)])
        yield np.ascontiguousarray(plane.transpose(y_axis, x_axis))


def nifti_header(path: Path) -> StackHeader:
    """Axes, spacing and remarks."""
    geometry = nifti_geometry(path)
    remarks = []
    is_reordered = len(geometry.shape) == 3 and geometry.array_axes_zyx != (2, 1, 0)
    if is_reordered:
        named = ", ".join("zyx"[geometry.array_axes_zyx.index(axis)] for axis in range(3))
        remarks.append(
            f"by its {geometry.source} its array is stored as {named}, not as x, y, z, and is read accordingly"
        )
    if nifti_shape(path)[0] == 1:
        remarks.append(SINGLE)
    return StackHeader(axes="ZYX", spacing=_evidence(geometry), is_reordered=is_reordered, remarks=tuple(remarks))


def _evidence(geometry: Geometry) -> SpacingEvidence:
    """Spacing by the affine, as nibabel and ITK have it; by pixdim where no affine says anything."""
    if len(geometry.shape) != 3:
        return SpacingEvidence(numbers_zyx=None)
    if len(geometry.pixdim) < 3:
        return SpacingEvidence(numbers_zyx=None, missing="it is a picture of two axes: no distance between slices")
    # an identity affine says nothing if pixdim does: many set the zooms and leave the affine
    is_pixdim = geometry.steps is None or (geometry.is_default and min(geometry.pixdim) > 0)
    source = f"NIfTI {'pixdim' if is_pixdim else geometry.source}"
    # a qform has no steps of its own
    steps = geometry.pixdim if is_pixdim or geometry.source == "qform" else geometry.steps or ()
    if unknown := [name for name, axis in zip("zyx", geometry.array_axes_zyx, strict=True) if steps[axis] == 0]:
        missing = f"its {source} gives no step along {', '.join(unknown)} (0 in the header)"
        return SpacingEvidence(numbers_zyx=None, missing=missing)
    if set(steps) == {1.0} and (geometry.unit == "unknown" or (geometry.unit == "mm" and geometry.is_default)):
        shape = shape_text(tuple(geometry.shape[axis] for axis in geometry.array_axes_zyx))
        unit = "without a unit" if geometry.unit == "unknown" else "mm from the origin, what programs write by default"
        missing = f"{_NO_GEOMETRY.format(unit=unit)}; its array is taken as x, y, z, giving {shape} voxels in z, y, x"
        return SpacingEvidence(numbers_zyx=None, missing=missing, remarks=(missing,))
    z, y, x = (steps[axis] for axis in geometry.array_axes_zyx)
    return SpacingEvidence(
        numbers_zyx=(z, y, x),
        units_zyx=(geometry.unit,) * 3,
        source=source,
        remarks=_contradiction(geometry, is_pixdim=is_pixdim),
    )


def _contradiction(geometry: Geometry, *, is_pixdim: bool) -> tuple[str, ...]:
    """A remark when affine and pixdim say different spacings."""
    if geometry.steps is None or np.allclose(geometry.steps, geometry.pixdim, rtol=_TOLERANCE, atol=0):
        return ()
    affine, pixdim = (" × ".join(f"{step:g}" for step in steps) for steps in (geometry.steps, geometry.pixdim))
    counts = "the affine is a default, so pixdim is used" if is_pixdim else f"the {geometry.source} is used"
    return (f"the header's {geometry.source} says {affine} along the array's axes, its pixdim {pixdim}; {counts}",)
