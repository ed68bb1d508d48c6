"""The stack that is to be segmented, decoded to the disk and on the scale and grid that the networks know."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.common.errors import DataError, UsageError
from stages.common.imaging.formats.opened import OpenStack
from stages.common.imaging.intensities.normalise import Scale, apply_scale
from stages.common.imaging.recipe import READING, Recipe
from stages.common.imaging.spacing import doubt_of_given, filled, is_sane, show, spacing_of
from stages.common.imaging.zyx import PartialSpacing, Spacing
from stages.common.tiling.volume import DiskVolume
from stages.predict.disk.scratch import Scratch
from stages.predict.reporting import ALOUD, Report

LEAST_UM, MOST_UM = 1e-6, 1e6  # a NIfTI has 32 bits for them, and squares them


@dataclass(frozen=True, kw_only=True)
class Normalised:
    """A volume on the disk, normalised where it is read."""

    volume: DiskVolume
    scale: Scale

    def read(self, z: slice, y: slice) -> NDArray[np.float32]:
        """Slices and rows of the normalised image, whole along x (z, y, x)."""
        return apply_scale(self.volume.read(z, y), self.scale)


def choose_spacing(stack: OpenStack, given_um: PartialSpacing | None, report: Report = ALOUD) -> Spacing:
    """The spacing (z, y, x; µm): on each axis what the user gave, else what the file says.

    Raises CapillaryError (usage) when neither does, and for one that no file can hold.
    """
    header = stack.header
    told = spacing_of(header)
    for remark in header.remarks:
        report.warn(remark)
    z, y, x = given_um or (None, None, None)
    if z is not None and y is not None and x is not None:
        return _given((z, y, x), told.spacing_um, report)
    if told.spacing_um is None:
        raise UsageError(
            f"the spacing of this stack is unknown: {told.reason}",
            file=stack.path.name,
            remedy="give it in µm: --spacing-um Z,Y,X, or the service's field spacing_um, such as 5,0.994,0.994",
        )
    for warning in told.warnings:
        report.warn(warning)
    if (z, y, x) != (None, None, None):
        return _given(filled((z, y, x), told.spacing_um), told.spacing_um, report)
    report.inform(f"voxels of {show(told.spacing_um)} µm ({told.source})")
    return told.spacing_um


def _given(spacing_um: Spacing, header_um: Spacing | None, report: Report) -> Spacing:
    if not all(LEAST_UM <= size <= MOST_UM for size in spacing_um):
        raise UsageError(
            f"{show(spacing_um)} µm is not a spacing that a mask can be written with",
            remedy=f"give lengths from {LEAST_UM:g} to {MOST_UM:g} µm",
        )
    if not is_sane(spacing_um):
        report.warn(f"{show(spacing_um)} µm is an unusual spacing for a light microscope")
    if doubt := doubt_of_given(spacing_um, header_um):
        report.warn(doubt)
    return spacing_um


def warn_of_older_reading(stack: OpenStack, recipe: Recipe, report: Report = ALOUD) -> None:
    """Say so where networks were trained when files like that of `stack` were read otherwise than now."""
    if recipe.reading >= READING:
        return
    header = stack.header
    otherwise = ["white for black (it stores white as 0)"] if header.is_inverted else []
    otherwise += ["its axes in another order (they follow the affine now)"] if header.is_reordered else []
    if otherwise:
        report.warn(
            "when this network was trained, capillary read files like this one"
            f" {' and '.join(otherwise)}; if its training stacks were stored like this, train it again"
        )


def decoded_type(stack: OpenStack) -> np.dtype[Any]:
    """The type in which `decode` keeps the voxels of `stack`."""
    return _plain(stack.dtype)


def decode(stack: OpenStack, scratch: Scratch, report: Report = ALOUD) -> DiskVolume:
    """The voxels of `stack` in a volume on the disk, in `decoded_type`.

    Raises DataError for a damaged file, and for values that are not numbers.
    """
    volume: DiskVolume | None = None
    with report.steps("read", stack.shape_zyx[0]) as tick:
        for z, plane in enumerate(stack.read_slices()):
            if volume is None:
                volume = scratch.volume("image", stack.shape_zyx, _plain(plane.dtype))
            if not np.isfinite(plane).all():
                raise DataError(
                    f"the stack holds NaN or infinite values in slice {z + 1}",
                    remedy="replace them (for example with the background value) and save the stack again",
                    file=stack.path.name,
                )
            volume.write(z, 0, plane[None])
            tick()
    assert volume is not None
    return volume


def _plain(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """`dtype` in this machine's order of bytes; floats longer than 64 bits lose what no image has."""
    native = dtype.newbyteorder("=")
    return np.dtype(np.float64) if native.kind == "f" and native.itemsize > 8 else native


def planes_above(probability: DiskVolume, threshold: float) -> Iterator[NDArray[np.bool_]]:
    """The slices (yx) of the mask: foreground where the probability is above `threshold`."""
    return (plane > threshold for plane in probability)
