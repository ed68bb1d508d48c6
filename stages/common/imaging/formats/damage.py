"""Errors about files that hold no usable stack."""

import struct
import zlib
from pathlib import Path

from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

from stages.common.errors import CapillaryError, DataError
from stages.common.imaging.formats.content import other_content

GREY_STACK = "save one channel of one time point as a stack of grey slices"
GREY_VALUES = "save them as 8-bit or 16-bit grey values"
REPLACE = "replace it with a whole copy of the original (compare sizes and checksums)"
# What the readers raise on damaged files. RuntimeError is the base of imagecodecs' errors; OSError is how gzip and
# nibabel report damage; most others of its kind are the machine's fault and are let through.
DAMAGE = (
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
    WrapStructError,
    struct.error,
    zlib.error,
)


class TooLargeError(CapillaryError, MemoryError):
    """A sound stack that does not fit into memory. Also a MemoryError, for a caller who knows a better remedy."""


def damaged(path: Path, reason: str) -> DataError:
    """The error that `path` cannot be read whole, or is of another format than its name says."""
    if (other := other_content(path)) is not None:
        return DataError(other.what, remedy=other.remedy, file=path)
    return DataError(f"the file is damaged or cut: {reason}", remedy=REPLACE, file=path)


def not_a_stack(path: Path, what: str, remedy: str = GREY_STACK) -> DataError:
    """The error that `path` holds something other than one grey stack."""
    return DataError(what, remedy=remedy, file=path)


def shape_text(shape: tuple[int, ...]) -> str:
    """Sizes with × between them."""
    return " × ".join(map(str, shape)) or "()"


def checked_shape(path: Path, shape: tuple[int, ...]) -> tuple[int, int, int]:
    """`shape` as that of a stack. DataError for an array of other axes than three, or without a voxel."""
    if len(shape) != 3 or 0 in shape:
        raise not_a_stack(path, f"it holds an array of shape {shape_text(shape)}, not a stack in z, y, x")
    return shape[0], shape[1], shape[2]
