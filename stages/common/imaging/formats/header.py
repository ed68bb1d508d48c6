"""What the header of a stack says, before anyone decides whether to believe it."""

import unicodedata
from dataclasses import dataclass
from typing import Any

from stages.common.imaging.zyx import Spacing

SINGLE = "the file holds a single slice"

# in the form that `micrometres` compares: NFKC (µ becomes the Greek letter) and lower case
_MICROMETRES = {
    **dict.fromkeys(("m", "meter", "meters", "metre", "metres"), 1e6),
    **dict.fromkeys(("cm", "centimeter", "centimeters", "centimetre", "centimetres"), 1e4),
    **dict.fromkeys(("mm", "millimeter", "millimeters", "millimetre", "millimetres"), 1e3),
    **dict.fromkeys(("μm", "um", "μ", "micron", "microns"), 1.0),
    **dict.fromkeys(("micrometer", "micrometers", "micrometre", "micrometres"), 1.0),
    **dict.fromkeys(("nm", "nanometer", "nanometers", "nanometre", "nanometres"), 1e-3),
    **dict.fromkeys(("pm", "picometer", "picometers", "picometre", "picometres"), 1e-6),
    **dict.fromkeys(("å", "angstrom", "angstroms", "ångström", "ångstrom"), 1e-4),
    **dict.fromkeys(("in", "inch", "inches", '"'), 25_400.0),
    "thou": 25.4,
}


@dataclass(frozen=True, kw_only=True)
class SpacingEvidence:
    """What a file says about its spacing.

    `numbers_zyx` are the numbers in the file, each in the unit of the same place in `units_zyx`; None when one is
    missing, and `missing` says which. `source` is the field that holds them, `remarks` are doubts in words.
    """

    numbers_zyx: Spacing | None
    units_zyx: tuple[str, str, str] = ("unknown", "unknown", "unknown")
    source: str = ""
    missing: str = "the header of the image gives no spacing"
    remarks: tuple[str, ...] = ()

    @property
    def declared_um(self) -> Spacing | None:
        """The numbers in µm by their units; None without numbers or with a unit that is not a length."""
        scales = [micrometres(unit) for unit in self.units_zyx]
        if self.numbers_zyx is None or any(scale is None for scale in scales):
            return None
        z, y, x = (number * (scale or 0.0) for number, scale in zip(self.numbers_zyx, scales, strict=True))
        return z, y, x


@dataclass(frozen=True, kw_only=True)
class StackHeader:
    """What a file says about itself besides its voxels.

    `axes` is one letter per axis for TIFF (tifffile's), "ZYX" for NIfTI. `is_inverted`: the file stores white as 0, and
    reading inverts it. `is_reordered`: its array stores other axes first than x, y, z, and reading puts them in order.
    `remarks` are warnings about how the voxels are read. `channels` are the names of all that the file holds.
    `slice_numbers` are the first number and the step in the names of files that are a slice each; None for all else.
    `start_um` is the place of the first voxel (z, y, x; µm) where OME-Zarr gives one. `orientation` is TIFF's tag of
    that name, which says where the first row and column are, 1 for the top and the left; it is not followed.
    """

    axes: str
    spacing: SpacingEvidence
    is_inverted: bool = False
    is_reordered: bool = False
    channels: tuple[str, ...] = ("",)
    remarks: tuple[str, ...] = ()
    slice_numbers: tuple[int, int] | None = None
    start_um: Spacing | None = None
    orientation: int = 1


def micrometres(unit: str) -> float | None:
    """How many µm one `unit` is; None for what is not a unit of length, such as "pixel"."""
    return _MICROMETRES.get(unicodedata.normalize("NFKC", unit).strip().casefold())


def number(value: Any) -> float | None:
    """`value` from a file's metadata as a finite number; None when it is not one."""
    try:
        found = float(value)
    except (TypeError, ValueError):
        return None
    return found if abs(found) < float("inf") else None  # NaN compares false


def precise(value: float) -> float:
    """`value` with the seven digits that a 32-bit float holds: 1.1 rather than 1.100000023841858."""
    return float(f"{value:.7g}")
