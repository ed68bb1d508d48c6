"""Stacks in the files that microscopes and annotators write: TIFF, OME-TIFF and NIfTI, as arrays in z, y, x."""

import contextlib
import errno
import functools
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from stages.common.errors import DataError, ExitCode
from stages.common.imaging.formats.channels import Channel
from stages.common.imaging.formats.damage import DAMAGE, REPLACE, TooLargeError, damaged
from stages.common.imaging.formats.nifti.stack import open_nifti, open_nifti_stack
from stages.common.imaging.formats.opened import OpenStack
from stages.common.imaging.formats.tiff.ome import refuse_planes_elsewhere
from stages.common.imaging.formats.tiff.opened import open_tiff_stack
from stages.common.imaging.formats.tiff.pages import choose_series
from stages.common.imaging.formats.tiff.stack import colour_of, find_stack, open_tiff, refuse_colour, tiff_claim
from stages.common.imaging.suffixes import PLAIN_SUFFIXES, TIFF_SUFFIXES, is_pattern, suffix_of
from stages.common.imaging.zyx import Shape

P = ParamSpec("P")
Value = TypeVar("Value")

# none, or a damaged offset that leads where no file can be
_DAMAGE_ERRNOS = (None, errno.EINVAL, errno.EOVERFLOW)


@contextlib.contextmanager
def open_plain(path: Path, channel: Channel = None) -> Iterator[OpenStack]:
    """The stack in `path`, opened once for all that is asked of it; larger values are brighter.

    It, and what it is asked for, raises DataError naming the file and the reason when it is missing, empty, damaged,
    cut, of another format than its suffix says, one file of several, in colour, or not three-dimensional;
    TooLargeError when it does not fit into memory.
    """
    with contextlib.ExitStack() as held:
        with refusing_damage(path, channel):
            if is_tiff(path):
                stack = held.enter_context(open_tiff_stack(path, channel))
            else:
                stack = open_nifti_stack(path, channel)
        yield refusing_in_use(stack, path, channel)
        with refusing_damage(path, channel):
            held.close()


def read_stack(path: Path, channel: Channel = None) -> NDArray[Any]:
    """The stack in `path` as (z, y, x), in the file's own dtype. Raises DataError like `open_plain`."""
    with open_plain(path, channel) as stack:
        return stack.read()


def read_shape(path: Path) -> Shape:
    """Shape (z, y, x) of the stack in `path`, without its voxels. Raises DataError like `open_plain`."""
    with open_plain(path) as stack:
        return stack.shape_zyx


def refusing_in_use(stack: OpenStack, file: Path, channel: Channel) -> OpenStack:
    """`stack` in `file`, in whose use damage is a DataError. What its user does in between raises outside of that."""

    def guarded(read: Callable[P, Value]) -> Callable[P, Value]:
        @functools.wraps(read)
        def reading(*args: P.args, **options: P.kwargs) -> Value:
            with refusing_damage(file, channel):
                return read(*args, **options)

        return reading

    def slices() -> Iterator[NDArray[Any]]:
        with refusing_damage(file, channel):
            yield from stack.read_slices()

    regions = None if stack.regions is None else replace(stack.regions, read=guarded(stack.regions.read))
    return replace(stack, describe=guarded(stack.describe), slices=slices, whole=guarded(stack.read), regions=regions)


def refuse_other_forms(path: Path) -> None:
    """Raise ElsewhereError for a TIFF of several that make up a stack, ColourError for one in colour.

    Raises DataError like `open_plain`.
    """
    if is_tiff(path):
        with refusing_damage(path), open_tiff(path) as tiff:
            if tiff.ome_metadata:
                refuse_planes_elsewhere(tiff.ome_metadata, path)
            series, _ = choose_series(tiff, path)
            if colour_of(series) is not None:
                raise refuse_colour(series, path)


def is_doubtful(path: Path, channel: Channel = None) -> bool:
    """Whether `path` is a boolean TIFF in which only the voxels tell which of two values is bright."""
    if not is_tiff(path):
        return False
    with refusing_damage(path, channel), open_tiff(path) as tiff:
        return find_stack(tiff, path, channel).is_doubtful


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
    if suffix not in PLAIN_SUFFIXES:
        raise DataError(
            "the file name is not that of a TIFF or NIfTI file",
            remedy=f"save it as one of {', '.join(PLAIN_SUFFIXES)}",
            file=path,
        )
    return suffix in TIFF_SUFFIXES


@contextlib.contextmanager
def refusing_damage(path: Path, channel: Channel = None) -> Iterator[None]:
    """Turn whatever a reader of `channel` raises on a damaged file into a DataError that names it.

    A lack of memory is damage where the header speaks of more than the file can hold, else it is a TooLargeError.
    """
    try:
        if not path.is_dir() and not is_pattern(path.name) and path.stat().st_size == 0:
            raise DataError("the file is empty (0 bytes)", remedy=REPLACE, file=path)
        yield
    except FileNotFoundError as error:
        raise DataError("the file does not exist", remedy="correct its name or copy it there", file=path) from error
    except IsADirectoryError as error:
        raise DataError("this is a folder, not a file", remedy="name the file itself", file=path) from error
    except DAMAGE as error:
        if isinstance(error, OSError) and error.errno not in _DAMAGE_ERRNOS:
            raise
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise damaged(path, reason) from error
    except TooLargeError:
        raise
    except MemoryError as error:
        raise TooLargeError(
            "the stack does not fit into memory",
            remedy="use a machine with more memory",
            code=ExitCode.MACHINE,
            file=path,
            value=f"{_possible_bytes(path, channel) / 1e9:.1f} GB of voxels",
        ) from error


def _possible_bytes(path: Path, channel: Channel) -> int:
    """What the voxels in `path` take as they are stored, unpacked. DataError when the file cannot hold as much."""
    if suffix_of(path.name) not in PLAIN_SUFFIXES:
        return path.stat().st_size
    try:
        return (tiff_claim(path, channel) if is_tiff(path) else open_nifti(path).claim).stored_bytes
    except (*DAMAGE, MemoryError) as error:
        raise damaged(path, "its header cannot be read") from error
