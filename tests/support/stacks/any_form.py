"""A stack of any form, as ingest and predict read it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.common.imaging.formats.channels import Channel
from stages.common.imaging.formats.geometry import Geometry
from stages.common.imaging.formats.header import StackHeader
from stages.common.imaging.reading import open_stack
from stages.common.imaging.zyx import Spacing


def read_header(path: Path, channel: Channel = None, level_um: Spacing | None = None) -> StackHeader:
    """What the file says about itself."""
    with open_stack(path, channel, level_um) as stack:
        return stack.header


def read_stack(path: Path, channel: Channel = None, level_um: Spacing | None = None) -> NDArray[Any]:
    """All voxels (zyx), in the file's own dtype."""
    with open_stack(path, channel, level_um) as stack:
        return stack.read()


def read_shape(path: Path, channel: Channel = None) -> tuple[int, int, int]:
    """Sizes in z, y, x."""
    with open_stack(path, channel) as stack:
        return stack.shape_zyx


def read_dtype(path: Path, channel: Channel = None) -> np.dtype[Any]:
    """In this machine's order of bytes."""
    with open_stack(path, channel) as stack:
        return stack.dtype


def read_slices(path: Path, channel: Channel = None) -> Iterator[NDArray[Any]]:
    """The slices (yx), in the order of z."""
    with open_stack(path, channel) as stack:
        yield from stack.read_slices()


def read_geometry(path: Path) -> Geometry | None:
    """Where the voxels are in the world; None where the format does not say."""
    with open_stack(path) as stack:
        return stack.geometry
