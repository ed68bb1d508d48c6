"""Stacks in the files that microscopes and annotators write: TIFF, OME-TIFF and NIfTI, as arrays in z, y, x."""

import contextlib
import errno
import gzip
import logging
import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import tifffile
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from stages.common.errors import CapillaryError, DataError, ExitCode
from stages.common.imaging.suffixes import SUFFIXES, TIFF_SUFFIXES, suffix_of

_MICROMETRES = {"m": 1e6, "meter": 1e6, "mm": 1e3, "µm": 1.0, "um": 1.0, "micron": 1.0, "microns": 1.0, "nm": 1e-3}
_REPLACE = "replace it with a whole copy of the original (compare sizes and checksums)"
# What the readers raise on damaged files. RuntimeError is the base of imagecodecs' errors; OSError is how gzip and
# nibabel report damage; most others of its kind are the machine's fault and are let through.
_DAMAGE = (
    ArithmeticError,
    AssertionError,
    EOFError,
    HeaderDataError,
    ImageFileError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)
# none, or a damaged offset that leads where no file can be
_DAMAGE_ERRNOS = (None, errno.EINVAL, errno.EOVERFLOW)
# how many times its size a file can hold: zstd packs equal bytes most, 128 KiB into 4
_MAX_PACKING = 2**15


class TooLargeError(CapillaryError, MemoryError):
    """A sound stack that does not fit into memory. Also a MemoryError, for a caller who knows a better remedy."""


@dataclass(frozen=True, kw_only=True)
class StackHeader:
    """What a file says about itself beside its voxels.

    `axes` is one letter an axis for TIFF (tifffile's), "ZYX" for NIfTI. `spacing_zyx` is the spacing as the bare
    numbers in the file, in `unit`: "mm", "micron", "meter" or "unknown" for NIfTI, "µm" for OME-TIFF.
    """

    axes: str
    spacing_zyx: tuple[float, float, float] | None
    unit: str

    @property
    def spacing_um(self) -> tuple[float, float, float] | None:
        """Spacing in µm, taken at its word; None when the file has none or its unit is unknown."""
        scale = _MICROMETRES.get(self.unit)
        if self.spacing_zyx is None or scale is None:
            return None
        z, y, x = self.spacing_zyx
        return z * scale, y * scale, x * scale


def read_stack(path: Path) -> NDArray[Any]:
    """The stack in `path` as (z, y, x), in the file's own dtype.

    Raises DataError naming the file and the reason when it is missing, empty, damaged, cut, of another format than its
    suffix says, in colour, or not three-dimensional; TooLargeError when it does not fit into memory.
    """
    with refusing_damage(path):
        stack = _read_tiff(path) if is_tiff(path) else _read_nifti(path)
    if stack.ndim != 3 or 0 in stack.shape:
        raise not_a_stack(path, f"it holds an array of shape {shape_text(stack.shape)}, not a stack in z, y, x")
    return stack


def read_header(path: Path) -> StackHeader:
    """The axes and the spacing that the file declares; raises DataError like `read_stack`."""
    with refusing_damage(path):
        return _tiff_header(path) if is_tiff(path) else _nifti_header(path)


def read_spacing_um(path: Path) -> tuple[float, float, float] | None:
    """Spacing (z, y, x) in µm from a NIfTI header or OME metadata, taken at its word; None when there is none."""
    return read_header(path).spacing_um


def binarise(label: NDArray[Any]) -> NDArray[np.uint8]:
    """`label` as {0, 1}: the larger of its two values is foreground.

    Raises DataError unless it holds exactly two different values (NaN counts as a third).
    """
    low, high = label.min(), label.max()
    foreground: NDArray[np.bool_] = label == high
    if low == high or not np.logical_or(foreground, label == low).all():
        values = np.unique(label)
        shown = ", ".join(f"{value:g}" for value in values[:6]) + (", …" if len(values) > 6 else "")
        raise DataError(
            f"the label holds {len(values)} {'value' if len(values) == 1 else 'values'}, a label must hold two",
            remedy="save the label with one value for background and one for vessels",
            value=shown,
        )
    return foreground.astype(np.uint8)


def is_tiff(path: Path) -> bool:
    """Whether `path` is read as TIFF; else as NIfTI. DataError for a name that is neither."""
    suffix = suffix_of(path.name)
    if suffix is None:
        raise DataError(
            "the file is neither TIFF nor NIfTI by its name",
            remedy=f"save it as one of {', '.join(SUFFIXES)}",
            file=path,
        )
    return suffix in TIFF_SUFFIXES


@contextlib.contextmanager
def refusing_damage(path: Path) -> Iterator[None]:
    """Turn whatever a reader raises on a damaged file into a DataError that names it.

    A lack of memory is damage where the header speaks of more than the file can hold, else it is a TooLargeError.
    """
    try:
        if path.stat().st_size == 0:
            raise DataError("the file is empty (0 bytes)", remedy=_REPLACE, file=path)
        yield
    except FileNotFoundError as error:
        raise DataError("the file does not exist", remedy="correct its name or copy it there", file=path) from error
    except IsADirectoryError as error:
        raise DataError("this is a folder, not a file", remedy="name the file itself", file=path) from error
    except _DAMAGE as error:
        if isinstance(error, OSError) and error.errno not in _DAMAGE_ERRNOS:
            raise
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise _damaged(path, reason) from error
    except MemoryError as error:
        raise TooLargeError(
            "the stack does not fit into memory",
            remedy="use a machine with more memory",
            code=ExitCode.MACHINE,
            file=path,
            value=f"{_possible_bytes(path) / 1e9:.1f} GB of voxels",
        ) from error


def _damaged(path: Path, reason: str) -> DataError:
    return DataError(f"the file is damaged or cut: {reason}", remedy=_REPLACE, file=path)


def _possible_bytes(path: Path) -> int:
    """What the voxels in `path` take as they are stored, unpacked. DataError when the file cannot hold as much."""
    try:
        claimed, packed = _tiff_claim(path) if is_tiff(path) else _nifti_claim(path)
    except (*_DAMAGE, MemoryError) as error:
        raise _damaged(path, "its header cannot be read") from error
    held = path.stat().st_size
    if not 0 <= claimed <= held * (_MAX_PACKING if packed else 1):
        raise _damaged(path, f"its header speaks of {claimed:,} bytes of voxels, the file has {held:,}")
    return claimed


def not_a_stack(path: Path, what: str) -> DataError:
    """The error that `path` holds something else than one grey stack."""
    return DataError(what, remedy="save one channel of one time point as a stack of grey slices", file=path)


def shape_text(shape: tuple[int, ...]) -> str:
    """Sizes with × between them."""
    return " × ".join(map(str, shape)) or "()"


# --- TIFF ---


@contextlib.contextmanager
def open_tiff(path: Path) -> Iterator[tifffile.TiffFile]:
    """An open TIFF. tifffile only logs that pages are missing or tags are damaged; here that is an error."""
    logged: list[str] = []
    handler = _Collector(logged)
    logger = logging.getLogger("tifffile")
    logger.addHandler(handler)
    former, logger.propagate = logger.propagate, False
    try:
        # the planes that an OME-TIFF says are in other files would be zeros here
        with tifffile.TiffFile(path, _multifile=False) as tiff:
            yield tiff
        if logged:
            raise ValueError(logged[0])
    finally:
        logger.propagate = former
        logger.removeHandler(handler)


class _Collector(logging.Handler):
    """Keeps the text of errors; warnings are about oddities that do not change the voxels."""

    def __init__(self, kept: list[str]) -> None:
        super().__init__(logging.ERROR)
        self._kept = kept

    def emit(self, record: logging.LogRecord) -> None:
        self._kept.append(record.getMessage())


def series_of(tiff: tifffile.TiffFile, path: Path) -> tifffile.TiffPageSeries:
    """The one stack in `tiff`; smaller pictures beside it (a thumbnail) do not count."""
    stacks = [series for series in tiff.series if len(series.shape) >= 3] or list(tiff.series[:1])
    if not stacks:
        raise ValueError("it has no page that can be read")
    if len(stacks) != 1:
        shapes = "; ".join(shape_text(series.shape) for series in stacks[:4])
        raise not_a_stack(path, f"it holds {len(stacks)} stacks ({shapes}), a volume is one")
    # with S first the planes lie one after the other: what some writers make of a grey stack of three or four slices
    if "S" in stacks[0].axes[1:]:
        raise not_a_stack(path, f"it is a colour image ({stacks[0].axes}: {shape_text(stacks[0].shape)})")
    return stacks[0]


def _tiff_claim(path: Path) -> tuple[int, bool]:
    """How many bytes of voxels the header speaks of, and whether they are compressed."""
    with open_tiff(path) as tiff:
        series = series_of(tiff, path)
        page = series.keyframe
        voxels = max(math.prod(series.shape), math.prod(page.chunks))  # a tile may be larger than the stack
        return voxels * page.bitspersample // 8, page.compression != tifffile.COMPRESSION.NONE


def _read_tiff(path: Path) -> NDArray[Any]:
    with open_tiff(path) as tiff:
        return np.asarray(series_of(tiff, path).asarray())


def _tiff_header(path: Path) -> StackHeader:
    with open_tiff(path) as tiff:
        axes = series_of(tiff, path).axes
        ome = tifffile.xml2dict(tiff.ome_metadata) if tiff.ome_metadata else {}
        imagej = _imagej_spacing(tiff) if tiff.is_imagej else (None, "unknown")
    spacing, unit = _ome_spacing(ome) if ome else imagej
    return StackHeader(axes=axes, spacing_zyx=spacing, unit=unit)


def _imagej_spacing(tiff: tifffile.TiffFile) -> tuple[tuple[float, float, float] | None, str]:
    """ImageJ's voxel depth, and its pixels per unit from the TIFF tags; both in the unit that its description names.

    ImageJ gives every image a resolution of 1 pixel a "pixel" and leaves out a depth of 1: without a unit of length
    or a depth there is no spacing.
    """
    described: Any = tiff.imagej_metadata or {}
    tags = tiff.pages.first.tags
    unit = str(described.get("unit", "")).replace("\\u00B5", "µ").replace("μ", "µ")
    if unit not in _MICROMETRES or "spacing" not in described or not ("XResolution" in tags and "YResolution" in tags):
        return None, "unknown"
    pixels = [tags[f"{axis}Resolution"].value for axis in "YX"]
    if any(above <= 0 or below <= 0 for above, below in pixels):
        return None, "unknown"
    y, x = (below / above for above, below in pixels)
    return (float(described["spacing"]), y, x), unit


def _ome_spacing(ome: dict[str, Any]) -> tuple[tuple[float, float, float] | None, str]:
    """PhysicalSizeZ/Y/X of the first image; OME's default unit is µm. Mixed units are converted to µm."""
    image = ome.get("OME", {}).get("Image", {})
    pixels = (image[0] if isinstance(image, list) else image).get("Pixels", {})
    spacing_um = []
    for axis in "ZYX":
        size = pixels.get(f"PhysicalSize{axis}")
        scale = _MICROMETRES.get(pixels.get(f"PhysicalSize{axis}Unit", "µm"))
        if size is None or scale is None:
            return None, "unknown"
        spacing_um.append(float(size) * scale)
    return (spacing_um[0], spacing_um[1], spacing_um[2]), "µm"


# --- NIfTI ---


def open_nifti(path: Path, *, keep_file_open: bool = False) -> Any:
    """nibabel's image, whose voxels are not read yet.

    The checksum of a gzip file is read first: nibabel stops before it comes to it.
    """
    if path.name.lower().endswith(".gz"):
        with gzip.open(path) as stream:
            while stream.read(1 << 22):
                pass
    return nibabel.load(path, mmap=False, keep_file_open=keep_file_open)


def _nifti_claim(path: Path) -> tuple[int, bool]:
    """How many bytes of voxels the header speaks of, and whether they are compressed."""
    header: Any = nibabel.load(path, mmap=False).header
    claimed = math.prod(int(size) for size in header.get_data_shape()) * int(header.get_data_dtype().itemsize)
    return claimed, path.name.lower().endswith(".gz")


def _read_nifti(path: Path) -> NDArray[Any]:
    image = open_nifti(path)
    stack_xyz = np.asanyarray(image.dataobj)
    while stack_xyz.ndim > 3 and stack_xyz.shape[-1] == 1:
        stack_xyz = stack_xyz[..., 0]
    return np.ascontiguousarray(stack_xyz.T)


def _nifti_header(path: Path) -> StackHeader:
    header: Any = nibabel.load(path, mmap=False).header
    zooms = [float(zoom) for zoom in header.get_zooms()[:3]]
    unit = header.get_xyzt_units()[0] if hasattr(header, "get_xyzt_units") else "unknown"
    spacing = (zooms[2], zooms[1], zooms[0]) if len(zooms) == 3 else None
    return StackHeader(axes="ZYX", spacing_zyx=spacing, unit=unit)
