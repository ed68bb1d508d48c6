"""Stacks in every form that is read: the files of stages/common/imaging/stacks.py, and those of foreign/."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from stages.common.errors import DataError
from stages.common.imaging.foreign.colour import open_colour
from stages.common.imaging.foreign.hdf5 import open_hdf5
from stages.common.imaging.foreign.meta_image import open_meta_image
from stages.common.imaging.foreign.microscope import open_microscope
from stages.common.imaging.foreign.nrrd_file import open_nrrd
from stages.common.imaging.foreign.ome_set import open_ome_set
from stages.common.imaging.foreign.slices import open_slices
from stages.common.imaging.foreign.zarr_meta import is_zarr
from stages.common.imaging.foreign.zarr_store import open_zarr
from stages.common.imaging.formats.channels import Channel
from stages.common.imaging.formats.header import StackHeader
from stages.common.imaging.formats.opened import OpenStack, check_dtype
from stages.common.imaging.formats.tiff.ome import ElsewhereError
from stages.common.imaging.formats.tiff.stack import ColourError
from stages.common.imaging.stacks import open_plain, refusing_damage, refusing_in_use
from stages.common.imaging.suffixes import (
    HDF5_SUFFIXES,
    META_SUFFIXES,
    MICROSCOPE_SUFFIXES,
    NRRD_SUFFIXES,
    PLAIN_SUFFIXES,
    READ,
    ZARR_SUFFIXES,
    is_pattern,
    split_inside,
    suffix_of,
)
from stages.common.imaging.zyx import Spacing

_Opener = Callable[[Path, Channel], AbstractContextManager[OpenStack]]
_OPENERS: dict[tuple[str, ...], _Opener] = {
    HDF5_SUFFIXES: open_hdf5,
    NRRD_SUFFIXES: open_nrrd,
    META_SUFFIXES: open_meta_image,
    MICROSCOPE_SUFFIXES: open_microscope,
}


def is_plain(path: Path) -> bool:
    """Whether `path` is a file that every stage reads: TIFF or NIfTI."""
    return suffix_of(str(path)) in PLAIN_SUFFIXES and not is_pattern(path.name) and not path.is_dir()


@contextlib.contextmanager
def open_stack(path: Path, channel: Channel = None, level_um: Spacing | None = None) -> Iterator[OpenStack]:
    """The stack in `path`, opened once for all that is asked of it; larger values are brighter. Of an OME-Zarr pyramid
    it is the level with the spacing nearest to `level_um` (z, y, x), by default the finest.

    It, and what it is asked for, raises DataError naming the file and the reason where it cannot be read,
    TooLargeError if it does not fit into memory.
    """
    with contextlib.ExitStack() as held:
        if is_plain(path):
            yield _plain(path, channel, held)
        else:
            yield held.enter_context(_opened(path, channel, _opener(path, level_um)))


def read_header(path: Path) -> StackHeader:
    """What the file says about itself. Raises DataError like `open_stack`."""
    with open_stack(path) as stack:
        return stack.header


def _plain(path: Path, channel: Channel, held: contextlib.ExitStack) -> OpenStack:
    """A TIFF or NIfTI, open as long as `held`: one stack by itself, one file of several, or one in colour."""
    try:
        stack = held.enter_context(open_plain(path, channel))
    except ElsewhereError:
        return held.enter_context(_opened(path, channel, open_ome_set))
    except ColourError:
        return held.enter_context(_opened(path, channel, open_colour))
    check_dtype(stack.dtype, path)
    return stack


@contextlib.contextmanager
def _opened(path: Path, channel: Channel, opener: _Opener) -> Iterator[OpenStack]:
    file = Path(split_inside(str(path))[0])
    with contextlib.ExitStack() as held:
        with refusing_damage(file, channel):
            stack = held.enter_context(opener(path, channel))
        yield refusing_in_use(stack, file, channel)
        with refusing_damage(file, channel):
            held.close()


def _opener(path: Path, level_um: Spacing | None) -> _Opener:
    """What opens `path`: by its suffix, else a folder by what is in it. DataError for what is not read."""
    if is_pattern(path.name) and not path.exists():
        return open_slices
    if path.is_dir():
        return functools.partial(open_zarr, level_um=level_um) if is_zarr(path) else open_slices
    suffix = suffix_of(str(path))
    found = next((opener for suffixes, opener in _OPENERS.items() if suffix in suffixes), None)
    if found is not None:
        return found
    if suffix in ZARR_SUFFIXES or (suffix is None and not path.exists()):
        if path.exists():
            what = "a Zarr store is a folder, and this is a file"
            raise DataError(what, remedy="unpack it into a folder if it is a zip, else correct its name", file=path)
        raise DataError("it does not exist", remedy="correct its name", file=path)
    raise DataError(
        "the format is not supported, judging by the file name", remedy=f"save it as one of {READ}", file=path
    )
