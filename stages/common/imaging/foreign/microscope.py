"""Files of microscopes' own formats (.czi, .nd2, .lif), through bioio and its readers, where these are installed."""

import contextlib
import importlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.common.errors import DataError
from stages.common.imaging.formats.channels import Channel, channel_number, refuse_times
from stages.common.imaging.formats.damage import damaged, not_a_stack
from stages.common.imaging.formats.header import SINGLE, SpacingEvidence, StackHeader, number
from stages.common.imaging.formats.opened import OpenStack, check_dtype
from stages.common.imaging.suffixes import suffix_of

# by the file's suffix: the module that reads it, with its distribution
READERS = {".czi": "bioio_czi", ".nd2": "bioio_nd2", ".lif": "bioio_lif"}
_AXES = {"M": "tiles of a mosaic", "S": "colours", "P": "positions", "V": "views", "I": "illuminations", "H": "phases"}
_ONE_STACK = "stitch tiles, or export one stack of grey slices, in the microscope's program or in Fiji with Bio-Formats"
_LONGEST_REASON = 200


@contextlib.contextmanager
def open_microscope(path: Path, channel: Channel) -> Iterator[OpenStack]:
    """The stack of `channel` in `path`. Raises DataError if its reader is not installed, and for several
    scenes, time points, or channels of which none is chosen.
    """
    image = _image(path)
    scenes = _scenes(image, path)
    if len(scenes) > 1:
        raise not_a_stack(path, f"it holds {len(scenes)} scenes ({', '.join(scenes[:6])}), a volume is one", _ONE_STACK)
    sizes = {letter: int(size) for letter, size in zip(image.dims.order, image.dims.shape, strict=True)}
    refuse_times(sizes.get("T", 1), path)
    if others := [letter for letter, size in sizes.items() if letter not in "TCZYX" and size > 1]:
        letter = others[0]
        what = f"it holds {sizes[letter]} {_AXES.get(letter, f'steps along an axis {letter}')}, a stack has z, y and x"
        raise not_a_stack(path, what, _ONE_STACK)
    channels = _channels(image, sizes.get("C", 1))
    at = {"C": channel_number(channels, channel, path)} if "C" in sizes else {}
    dtype = np.dtype(image.dtype)
    check_dtype(dtype, path)
    depth = sizes.get("Z", 1)

    def slices() -> Iterator[NDArray[Any]]:
        for z in range(depth):
            where = at | ({"Z": z} if "Z" in sizes else {}) | ({"T": 0} if "T" in sizes else {})
            yield np.asarray(image.get_image_dask_data("YX", **where).compute())

    yield OpenStack(
        path=path,
        shape_zyx=(depth, sizes["Y"], sizes["X"]),
        dtype=dtype.newbyteorder("="),
        describe=lambda: StackHeader(
            axes="ZYX", spacing=_evidence(image), channels=channels, remarks=(SINGLE,) if depth == 1 else ()
        ),
        slices=slices,
    )


def _image(path: Path) -> Any:
    """Opened by its reader. DataError for what that does not take for a file of its kind, as most damaged ones are."""
    reader = _reader(path)
    unsupported = importlib.import_module("bioio_base.exceptions").UnsupportedFileFormatError
    try:
        return reader(path)
    except unsupported as error:
        reason = " ".join(str(error).replace(str(path), path.name).split())
        raise damaged(path, reason[:_LONGEST_REASON]) from error


def _scenes(image: Any, path: Path) -> tuple[str, ...]:
    """Their names. Of a CZI bioio knows those that the metadata name, and reads the first of others in silence."""
    names = tuple(map(str, image.scenes))
    if suffix_of(path.name) != ".czi":
        return names
    shapes = importlib.import_module("aicspylibczi").CziFile(str(path)).get_dims_shape()
    count = max((shape["S"][1] for shape in shapes if "S" in shape), default=1)
    return names if count <= len(names) else tuple(map(str, range(count)))


def _reader(path: Path) -> Any:
    name = READERS[suffix_of(path.name) or ""]
    try:
        return importlib.import_module(name).Reader
    except ImportError as error:
        package = name.replace("_", "-")
        raise DataError(
            f"{path.suffix} needs the reader {package}, which is not installed",
            remedy=f"add {package} to stages/ingest/requirements.txt (pip install 'capillary[microscopes]' without "
            "Docker), or save the stack as OME-TIFF (Fiji with Bio-Formats)",
            file=path,
        ) from error


def _channels(image: Any, count: int) -> tuple[str, ...]:
    names = tuple(map(str, image.channel_names or ()))
    return names if len(names) == count else ("",) * count


def _evidence(image: Any) -> SpacingEvidence:
    """bioio gives µm."""
    sizes = image.physical_pixel_sizes
    z, y, x = (number(size) or math.nan for size in (sizes.Z, sizes.Y, sizes.X))
    if not all(size > 0 for size in (z, y, x)):
        return SpacingEvidence(numbers_zyx=None, missing="its metadata give no size of a voxel along z, y and x")
    return SpacingEvidence(numbers_zyx=(z, y, x), units_zyx=("µm",) * 3, source="bioio physical pixel sizes")
