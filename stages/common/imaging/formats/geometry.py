"""Where the voxels of a NIfTI are in the world."""

import contextlib
from dataclasses import dataclass
from typing import Any

import nibabel
import numpy as np
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from stages.common.imaging.formats.header import micrometres, precise

_orientations: Any = nibabel.orientations  # its functions carry no types
_MM = 1e3  # µm
_ALIKE = 0.02  # relative: steps that are the same but for rounding
_NIFTI_UNITS = ("unknown", "micron", "mm", "meter")


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """A grid in the world. `shape` is that of the array in the file, without axes of 1 beyond the third.

    `affine` maps array indices to the world in `unit`; None if the header has none, or one of no use. `source` is
    "sform" or "qform". `pixdim` is the header's other field for the spacing. `named_axes_zyx` are z, y and x of an
    array without an affine, where its axes have names.
    """

    shape: tuple[int, ...]
    affine: NDArray[np.float64] | None
    source: str
    pixdim: tuple[float, ...]
    unit: str
    named_axes_zyx: tuple[int, int, int] = (2, 1, 0)

    @property
    def array_axes_zyx(self) -> tuple[int, ...]:
        """Which axes of the array are z, y and x: the ones nearest to those of the world."""
        if len(self.shape) != 3:
            return tuple(range(len(self.shape)))[::-1]
        if self.affine is None:
            return self.named_axes_zyx
        nearest = _orientations.io_orientation(self.affine)[:, 0]
        z, y, x = (int(np.flatnonzero(nearest == axis)[0]) for axis in (2, 1, 0))
        return z, y, x

    @property
    def steps(self) -> tuple[float, ...] | None:
        """Distance between neighbours along each array axis, by the affine."""
        if self.affine is None:
            return None
        return tuple(precise(float(step)) for step in np.linalg.norm(self.affine[:3, :3], axis=0))

    @property
    def is_default(self) -> bool:
        """Whether it is what programs write that know nothing: 1 × 1 × 1 from the origin, along the axes."""
        if self.affine is None:
            return True
        turns = np.abs(self.affine[:3, :3])
        return bool(np.allclose(turns, np.eye(3)) and not self.affine[:3, 3].any())

    @property
    def has_spacing(self) -> bool:
        """Whether its spacing means something: 1 × 1 × 1 without a unit is a default."""
        return self.steps is not None and (set(self.steps) != {1.0} or self.unit in ("micron", "meter"))

    @property
    def text(self) -> str:
        """In words: first voxel (x, y, z), steps along the array's axes, and where those point."""
        if self.affine is None:
            return "no geometry"
        first = ", ".join(f"{precise(float(value)):g}" for value in self.affine[:3, 3])
        steps = " × ".join(f"{step:g}" for step in self.steps or ())
        unit = {"unknown": "", "micron": " µm"}.get(self.unit, f" {self.unit}")
        return f"from ({first}) by {steps}{unit} {_axes_text(self.affine)}"


def _axes_text(affine: Any) -> str:
    """Where the axes of an array point, as RAS."""
    return "".join(axis or "?" for axis in _orientations.aff2axcodes(affine))


def geometry_of(image: Any) -> Geometry:
    """The geometry in the header of nibabel's `image`."""
    affine, source = _affine_of(image)
    shape = tuple(int(size) for size in image.shape)
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    shape = (*shape, 1) if len(shape) == 2 else shape  # a picture is one slice
    header = image.header
    return Geometry(
        shape=shape,
        affine=affine,
        source=source,
        pixdim=tuple(precise(float(zoom)) for zoom in header.get_zooms()[:3]),
        unit=_unit_of(header),
    )


def _unit_of(header: Any) -> str:
    """By NIfTI's names; "unknown" without one, and for a code that NIfTI does not define."""
    try:
        return str(header.get_xyzt_units()[0]) if hasattr(header, "get_xyzt_units") else "unknown"
    except KeyError:
        return "unknown"


def _affine_of(image: Any) -> tuple[NDArray[np.float64] | None, str]:
    """The affine and which one it is: the sform where it is set and of use, else the qform."""
    header = image.header
    if len(image.shape) < 3 or not hasattr(header, "get_sform"):
        return None, ""
    for source, read in (("sform", header.get_sform), ("qform", header.get_qform)):
        affine = read(coded=True)[0]
        if affine is not None and _spans_room(affine):
            return np.asarray(affine, np.float64), source
    return None, ""


def contradiction_of(image: Any, geometry: Geometry) -> str:
    """A remark where the qform in the header of nibabel's `image` has other axes than its sform, which counts."""
    if geometry.source != "sform" or len(geometry.shape) != 3:
        return ""
    qform = None
    with contextlib.suppress(ValueError, HeaderDataError):  # a qform that cannot be is of no use
        qform = image.header.get_qform(coded=True)[0]
    if qform is None or not _spans_room(qform):
        return ""
    sform, other = map(_axes_text, (geometry.affine, qform))
    said = f"the header's sform says that the array's axes are {sform}, its qform {other}"
    return f"{said}; the sform is used" if sform != other else ""


def doubt_of_order(steps_xyz: tuple[float, ...]) -> str:
    """A remark on an array in the order x, y, z whose x alone is coarser than the others, as z is in most stacks."""
    x, y, z = steps_xyz
    if x <= y * (1 + _ALIKE) or abs(y - z) > _ALIKE * y:
        return ""
    said = f"its first axis has steps of {x:g}, the others of {y:g}"
    return f"{said}: it is taken as x, but an array that was saved as z, y, x looks the same"


def _spans_room(affine: NDArray[Any]) -> bool:
    """Whether it is finite, and no two axes point the same way or nowhere."""
    turns = np.asarray(affine, np.float64)[:3, :3]
    steps = np.linalg.norm(turns, axis=0)
    return bool(np.isfinite(affine).all() and steps.all() and abs(np.linalg.det(turns / steps)) >= 1e-3)


def nifti_affine(geometry: Geometry) -> tuple[NDArray[np.float64], str]:
    """The affine of `geometry`, which has one, and its unit, in a unit that NIfTI knows."""
    affine, unit = np.asarray(geometry.affine), geometry.unit
    if unit in _NIFTI_UNITS:
        return affine, unit
    scale = micrometres(unit)
    return (np.diag([scale] * 3 + [1.0]) @ affine, "micron") if scale else (affine, "unknown")


def length_ratio(one: Geometry, other: Geometry) -> float:
    """How many units of `other` one unit of `one` is. An unknown unit counts as mm, as spacing.py reads it."""
    scale, by = (micrometres(each.unit) or _MM for each in (one, other))
    return scale / by
