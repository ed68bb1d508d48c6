"""Stacks in every form that is read: the files of stages/common/imaging/stacks.py, and those of foreign/."""

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.common.errors import DataError
from stages.common.imaging import stacks
from stages.common.imaging.foreign.colour import open_colour
from stages.common.imaging.foreign.hdf5 import open_hdf5
from stages.common.imaging.foreign.meta_image import open_meta_image
from stages.common.imaging.foreign.microscope import open_microscope
from stages.common.imaging.foreign.nrrd_file import open_nrrd
from stages.common.imaging.foreign.ome_set import open_ome_set
from stages.common.imaging.foreign.opened import OpenStack, check_dtype
from stages.common.imaging.foreign.slices import open_slices
from stages.common.imaging.foreign.zarr_meta import is_zarr
from stages.common.imaging.foreign.zarr_store import open_zarr
from stages.common.imaging.formats.channels import Channel
from stages.common.imaging.formats.geometry import Geometry
from stages.common.imaging.formats.header import StackHeader
from stages.common.imaging.formats.nifti import nifti_geometry
from stages.common.imaging.formats.ome import ElsewhereError
from stages.common.imaging.formats.tiff import ColourError
from stages.common.imaging.stacks import Shape, refusing_damage
from stages.common.imaging.suffixes import (
    HDF5_SUFFIXES,
    META_SUFFIXES,
    MICROSCOPE_SUFFIXES,
    NIFTI_SUFFIXES,
    NRRD_SUFFIXES,
    PLAIN_SUFFIXES,
    READ,
    TIFF_SUFFIXES,
    ZARR_SUFFIXES,
    is_pattern,
    split_inside,
    suffix_of,
)

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


def _is_alone(path: Path) -> bool:
    """Whether `path` is plain, and holds all planes of its stack, in grey."""
    return is_plain(path) and _other_form(path) is None


def _other_form(path: Path) -> _Opener | None:
    """What opens a TIFF that is one file of several or in colour; None for all others."""
    try:
        stacks.refuse_other_forms(path)
    except ElsewhereError:
        return open_ome_set
    except ColourError:
        return open_colour
    except DataError:  # whoever reads it says what is wrong
        return None
    return None


@contextlib.contextmanager
def open_stack(path: Path, channel: Channel = None) -> Iterator[OpenStack]:
    """The stack in `path`, opened once for all that is asked of it. Raises DataError like `read_stack`."""
    if not _is_alone(path):
        with _opened(path, channel) as stack:
            yield stack
        return
    dtype = stacks.read_dtype(path, channel).newbyteorder("=")
    check_dtype(dtype, path)
    yield OpenStack(
        path=path,
        shape_zyx=stacks.read_shape(path, channel),
        dtype=dtype,
        header=stacks.read_header(path, channel),
        slices=lambda: stacks.read_slices(path, channel),
        geometry=_plain_geometry(path),
    )


def read_stack(path: Path, channel: Channel = None) -> NDArray[Any]:
    """The stack in `path` as (z, y, x), in the file's own dtype, larger values brighter.

    Raises DataError naming the file and the reason where it cannot be read, TooLargeError if it does not fit into
    memory.
    """
    if _is_alone(path):
        return stacks.read_stack(path, channel)
    with _opened(path, channel) as stack:
        return stack.read()


def read_header(path: Path, channel: Channel = None) -> StackHeader:
    """What the file says about itself. Raises DataError like `read_stack`."""
    if _is_alone(path):
        return stacks.read_header(path, channel)
    with _opened(path, channel) as stack:
        return stack.header


def read_shape(path: Path, channel: Channel = None) -> Shape:
    """Shape (z, y, x), without the voxels. Raises DataError like `read_stack`."""
    if _is_alone(path):
        return stacks.read_shape(path, channel)
    with _opened(path, channel) as stack:
        return stack.shape_zyx


def read_geometry(path: Path, channel: Channel = None) -> Geometry | None:
    """Where the voxels are in the world; None where the format does not say. Raises DataError like `read_stack`."""
    if _is_alone(path):
        return _plain_geometry(path)
    with _opened(path, channel) as stack:
        return stack.geometry


def read_dtype(path: Path, channel: Channel = None) -> np.dtype[Any]:
    """The dtype of the voxels. Raises DataError like `read_stack`."""
    if _is_alone(path):
        dtype = stacks.read_dtype(path, channel)
        check_dtype(dtype, path)
        return dtype
    with _opened(path, channel) as stack:
        return stack.dtype


def read_slices(path: Path, channel: Channel = None) -> Iterator[NDArray[Any]]:
    """The slices (yx), in the order of z. Raises DataError like `read_stack`."""
    if _is_alone(path):
        yield from stacks.read_slices(path, channel)
        return
    with _opened(path, channel) as stack:
        yield from stack.read_slices()


def _plain_geometry(path: Path) -> Geometry | None:
    if suffix_of(path.name) not in NIFTI_SUFFIXES:
        return None
    with refusing_damage(path):
        return nifti_geometry(path)


@contextlib.contextmanager
def _opened(path: Path, channel: Channel) -> Iterator[OpenStack]:
    opener = _opener(path)
    with refusing_damage(Path(split_inside(str(path))[0]), channel), opener(path, channel) as stack:
        yield stack


def _opener(path: Path) -> _Opener:
    """What opens `path`: by its suffix, else a folder by what is in it. DataError for what is not read."""
    if is_pattern(path.name) and not path.exists():
        return open_slices
    if path.is_dir():
        return open_zarr if is_zarr(path) else open_slices
    suffix = suffix_of(str(path))
    if suffix in TIFF_SUFFIXES and (other := _other_form(path)) is not None:
        return other
    found = next((opener for suffixes, opener in _OPENERS.items() if suffix in suffixes), None)
    if found is not None:
        return found
    if suffix in ZARR_SUFFIXES or (suffix is None and not path.exists()):
        missing = "a Zarr store is a folder, and this is a file" if path.exists() else "it does not exist"
        raise DataError(missing, remedy="correct its name", file=path)
    raise DataError(
        "the format is not supported, judging by the file name", remedy=f"save it as one of {READ}", file=path
    )
