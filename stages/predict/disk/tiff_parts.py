"""A TIFF read in parts: the slices of a box by their pages, of which the box is cut out."""

import contextlib
import dataclasses
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.common.imaging.foreign.axes import Box
from stages.common.imaging.foreign.opened import Regions
from stages.common.imaging.formats.channels import Channel
from stages.common.imaging.formats.tiff import TiffStack, find_stack, open_tiff


@contextlib.contextmanager
def open_tiff_parts(path: Path, channel: Channel) -> Iterator[Regions | None]:
    """The stack of `channel` in the TIFF `path`; None where its slices have no place of their own in the file.

    Also None for boolean voxels: which of their values is bright depends on all of them.
    """
    with open_tiff(path) as tiff:
        stack = find_stack(tiff, path, channel)
        has_slices = bool(stack.every_page) or stack.series.dataoffset is not None
        if not has_slices or stack.series.dtype.kind == "b":
            yield None
            return
        _, height, width = stack.shape
        yield Regions(read=partial(_read, stack, path), chunks_zyx=(1, height, width))


def _read(stack: TiffStack, path: Path, box: Box) -> NDArray[Any]:
    z, y, x = box
    numbers = stack.planes.numbers[z]
    part = dataclasses.replace(stack, planes=dataclasses.replace(stack.planes, numbers=numbers))
    part.refuse_large(path, by_slices=True)
    voxels = np.empty((len(numbers), y.stop - y.start, x.stop - x.start), stack.series.dtype)
    for target, plane in zip(voxels, part.slices(), strict=True):
        target[...] = plane[y, x]
    return voxels
