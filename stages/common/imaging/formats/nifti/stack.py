"""The stack in a NIfTI file: voxels in the order z, y, x, and what its header says about spacing."""

import gzip
import math
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from stages.common.imaging.formats.channels import Channel, channel_number
from stages.common.imaging.formats.claims import DEFLATE, FLOAT, PLAIN, Claim, refuse_impossible, refuse_large
from stages.common.imaging.formats.damage import checked_shape, shape_text
from stages.common.imaging.formats.geometry import Geometry, contradiction_of, doubt_of_order, geometry_of
from stages.common.imaging.formats.header import SINGLE, SpacingEvidence, StackHeader
from stages.common.imaging.formats.nifti.head import Head, check_whole, read_head
from stages.common.imaging.formats.opened import OpenStack

_TOLERANCE = 0.01  # relative: two spacings in one header that differ by more disagree
_NO_GEOMETRY = "the header carries no geometry and no spacing (1 × 1 × 1 {unit})"


@dataclass(frozen=True, kw_only=True)
class Nifti:
    """An open NIfTI: nibabel's `image`, whose voxels are not read yet, and its `geometry`; a pixdim of 0 stays 0."""

    path: Path
    image: Any
    head: Head
    geometry: Geometry

    @property
    def claim(self) -> Claim:
        """How many bytes of voxels the header speaks of, and what the file has for them."""
        return _claim_of(self.image, self.head, self.path)

    @property
    def shape_zyx(self) -> tuple[int, ...]:
        """Sizes in z, y, x."""
        return tuple(self.geometry.shape[axis] for axis in self.geometry.array_axes_zyx)

    def dtype(self) -> np.dtype[Any]:
        """The dtype after the header's scale, which a voxel shows."""
        if self._is_unscaled:
            stored: np.dtype[Any] = self.image.dataobj.dtype
            return stored
        voxel: NDArray[Any] = np.asanyarray(self.image.dataobj[(slice(0, 1),) * len(self.image.shape)])
        return voxel.dtype

    def file_order(self) -> NDArray[Any]:
        """The voxels in the file's own order, without axes of 1 beyond the third. TooLargeError if memory lacks."""
        self._refuse_large()
        self._check_whole()
        voxels: NDArray[Any] = np.asanyarray(self.image.dataobj)
        return voxels.reshape(self.geometry.shape)

    def read(self) -> NDArray[Any]:
        """The voxels in z, y, x, in the machine's byte order. TooLargeError if memory does not hold them."""
        return _plain(self.file_order().transpose(self.geometry.array_axes_zyx))

    def slices(self) -> Iterator[NDArray[Any]]:
        """The slices (yx). A file in which z is not the last axis is read whole: its slices are all over it."""
        z_axis, y_axis, x_axis = self.geometry.array_axes_zyx
        if z_axis != 2 or len(self.image.shape) == 2:
            yield from self.read()
            return
        self._refuse_large(axes=2)
        self._check_whole()
        extra = (0,) * (len(self.image.shape) - 3)
        for z in range(self.image.shape[2]):
            plane = np.asanyarray(self.image.dataobj[(slice(None), slice(None), z, *extra)])
            yield _plain(plane.transpose(y_axis, x_axis))

    def header(self) -> StackHeader:
        """Axes, spacing and remarks."""
        geometry = self.geometry
        remarks = []
        is_reordered = len(geometry.shape) == 3 and geometry.array_axes_zyx != (2, 1, 0)
        if is_reordered:
            named = ", ".join("zyx"[geometry.array_axes_zyx.index(axis)] for axis in range(3))
            remarks.append(
                f"by its {geometry.source} its array is stored as {named}, not as x, y, z, and is read accordingly"
            )
        spacing = _evidence(geometry)
        if spacing.numbers_zyx and not is_reordered and (doubt := doubt_of_order(spacing.numbers_zyx[::-1])):
            remarks.append(doubt)
        if contradiction := contradiction_of(self.image, geometry):
            remarks.append(contradiction)
        if self.shape_zyx[0] == 1:
            remarks.append(SINGLE)
        return StackHeader(axes="ZYX", spacing=spacing, is_reordered=is_reordered, remarks=tuple(remarks))

    @property
    def _is_unscaled(self) -> bool:
        found = tuple(getattr(self.image.dataobj, name, None) for name in ("slope", "inter"))
        return found in ((1, 0), (None, None))

    def _check_whole(self) -> None:
        """Read the checksum of a gzip file: nibabel stops before it comes to it."""
        if self.head.is_packed:
            check_whole(self.path, int(self.image.dataobj.offset) + self.claim.stored_bytes)

    def _refuse_large(self, axes: int | None = None) -> None:
        """Raise TooLargeError if memory does not hold the voxels along the first `axes`, by default all.

        That is as they are stored, as they are scaled where the header says so, and as a copy.
        """
        image = self.image
        voxels = math.prod(int(size) for size in image.shape[:axes])
        stored = int(image.header.get_data_dtype().itemsize)
        read = stored if self._is_unscaled else np.dtype(np.float64).itemsize
        refuse_large(voxels * (stored + read + FLOAT), voxels * read, self.path)


def _plain(voxels: NDArray[Any]) -> NDArray[Any]:
    """`voxels` in one piece, in the machine's byte order."""
    return np.ascontiguousarray(voxels, dtype=voxels.dtype.newbyteorder("="))


def open_nifti(path: Path) -> Nifti:
    """`path`, whose file is open from the first voxel that is read on, until nobody holds what is returned.

    DataError if its header claims what the file cannot hold.
    """
    head = read_head(path)
    image = _load(path, head)
    refuse_impossible(_claim_of(image, head, path), path)
    geometry = geometry_of(image)
    if any(head.unknown_steps):
        steps = zip(geometry.pixdim, head.unknown_steps, strict=False)
        geometry = replace(geometry, pixdim=tuple(0.0 if is_unknown else step for step, is_unknown in steps))
    return Nifti(path=path, image=image, head=head, geometry=geometry)


def _load(path: Path, head: Head) -> Any:
    """nibabel's image. nibabel goes by the name, so a file whose content is otherwise is opened for it."""
    if head.is_packed == path.name.lower().endswith(".gz"):
        return nibabel.load(path, mmap=False, keep_file_open=True)
    kind: Any = nibabel.Nifti2Image if head.kind == 2 else nibabel.Nifti1Image
    stream = gzip.open(path) if head.is_packed else path.open("rb")  # noqa: SIM115 - open as long as the image is
    try:
        image = kind.from_file_map(kind.make_file_map({"image": stream}), mmap=False, keep_file_open=True)
    except BaseException:
        stream.close()
        raise
    weakref.finalize(image, stream.close)
    return image


def _claim_of(image: Any, head: Head, path: Path) -> Claim:
    header = image.header
    claimed = math.prod(int(size) for size in header.get_data_shape()) * int(header.get_data_dtype().itemsize)
    return Claim(stored_bytes=claimed, held_bytes=path.stat().st_size, packing=DEFLATE if head.is_packed else PLAIN)


def open_nifti_stack(path: Path, channel: Channel) -> OpenStack:
    """The stack in `path`, whose one channel has no name. DataError for another one than that."""
    channel_number(("",), channel, path)
    nifti = open_nifti(path)
    return OpenStack(
        path=path,
        shape_zyx=checked_shape(path, nifti.shape_zyx),
        dtype=nifti.dtype().newbyteorder("="),
        describe=nifti.header,
        slices=nifti.slices,
        whole=nifti.read,
        geometry=nifti.geometry,
    )


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
