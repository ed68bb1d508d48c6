"""The stack in a TIFF as an open stack: its header when it is asked for, its slices, all of it, or parts of slices."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.common.imaging.formats.channels import Channel
from stages.common.imaging.formats.damage import checked_shape
from stages.common.imaging.formats.header import StackHeader
from stages.common.imaging.formats.opened import OpenStack, Regions
from stages.common.imaging.formats.tiff.header import tiff_header
from stages.common.imaging.formats.tiff.pages import refuse_unread_planes
from stages.common.imaging.formats.tiff.stack import TiffStack, find_stack, open_watched
from stages.common.imaging.zyx import Box


@contextlib.contextmanager
def open_tiff_stack(path: Path, channel: Channel) -> Iterator[OpenStack]:
    """The stack of `channel` in the TIFF `path`. What it is asked for raises ValueError where the file is damaged."""
    with open_watched(path) as (tiff, refuse_logged):
        stack = find_stack(tiff, path, channel)
        shape = checked_shape(path, stack.shape)
        refuse_logged()
        refuse_unread_planes(tiff, stack.series, path)
        yield OpenStack(
            path=path,
            shape_zyx=shape,
            dtype=np.dtype(stack.series.dtype).newbyteorder("="),
            describe=partial(_header, stack, refuse_logged),
            slices=partial(_slices, stack, path, refuse_logged),
            whole=partial(_whole, stack, path, refuse_logged),
            regions=_regions(stack, path),
        )


def _header(stack: TiffStack, refuse_logged: Callable[[], None]) -> StackHeader:
    header = tiff_header(stack)
    refuse_logged()
    return header


def _slices(stack: TiffStack, path: Path, refuse_logged: Callable[[], None]) -> Iterator[NDArray[Any]]:
    stack.refuse_large(path, by_slices=True)
    yield from stack.slices()
    refuse_logged()


def _whole(stack: TiffStack, path: Path, refuse_logged: Callable[[], None]) -> NDArray[Any]:
    stack.refuse_large(path, by_slices=False)
    voxels = stack.read()
    refuse_logged()
    return voxels


def _regions(stack: TiffStack, path: Path) -> Regions | None:
    """None where the slices have no place of their own in the file, and for boolean voxels: which of their values is
    bright depends on all of them.
    """
    has_slices = bool(stack.every_page) or stack.series.dataoffset is not None
    if not has_slices or np.dtype(stack.series.dtype).kind == "b":
        return None
    _, height, width = stack.shape
    return Regions(read=partial(_read, stack, path), chunks_zyx=(1, height, width))


def _read(stack: TiffStack, path: Path, box: Box) -> NDArray[Any]:
    """The voxels in `box`, cut out of its slices."""
    z, y, x = box
    numbers = stack.planes.numbers[z]
    part = dataclasses.replace(stack, planes=dataclasses.replace(stack.planes, numbers=numbers))
    part.refuse_large(path, by_slices=True)
    voxels = np.empty((len(numbers), y.stop - y.start, x.stop - x.start), stack.series.dtype)
    for target, plane in zip(voxels, part.slices(), strict=True):
        target[...] = plane[y, x]
    return voxels
