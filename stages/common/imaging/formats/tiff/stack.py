"""The one stack in a TIFF: which planes it has, whether all of them are there, and its voxels."""

import contextlib
import logging
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from stages.common.errors import DataError
from stages.common.imaging.formats.channels import Channel
from stages.common.imaging.formats.claims import FLOAT, Claim, refuse_impossible, refuse_large
from stages.common.imaging.formats.damage import shape_text
from stages.common.imaging.formats.tiff.axes import Planes, choose_planes, plane_of
from stages.common.imaging.formats.tiff.claims import claim_of_pages, largest_chunk
from stages.common.imaging.formats.tiff.directories import check_directories
from stages.common.imaging.formats.tiff.ome import OmeImage, image_of, read_images, refuse_planes_elsewhere
from stages.common.imaging.formats.tiff.pages import choose_series, pages_of, refuse_missing_planes


@contextlib.contextmanager
def open_tiff(path: Path) -> Iterator[tifffile.TiffFile]:
    """An open TIFF, after a look at what its directories claim.

    tifffile only logs that pages are missing or tags are damaged; here that is an error, at the end.
    """
    with open_watched(path) as (tiff, _):
        yield tiff


@contextlib.contextmanager
def open_watched(path: Path) -> Iterator[tuple[tifffile.TiffFile, Callable[[], None]]]:
    """The same with a function that raises ValueError for what tifffile has logged so far."""
    logged: list[str] = []

    def refuse_logged() -> None:
        if logged:
            raise ValueError(logged[0])

    handler = _Collector(logged)
    logger = logging.getLogger("tifffile")
    logger.addHandler(handler)
    former, logger.propagate = logger.propagate, False
    try:
        with path.open("rb") as stream:
            check_directories(stream, path)
            stream.seek(0)
            # tifffile would look for other files of an OME set, and read what it does not find as zeros
            with tifffile.TiffFile(stream, _multifile=False) as tiff:
                yield tiff, refuse_logged
        refuse_logged()
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


@dataclass(frozen=True, kw_only=True)
class TiffStack:
    """The stack in an open TIFF: those of the planes of `series` that `planes` says.

    `every_page` are all planes of the series where each has its own page, else empty. `ome` is the Image that
    describes it; `smaller` counts the levels of a pyramid that are left out. `is_mostly_true` is what several boolean
    files of one stack are together, None where this file is the whole stack.
    """

    tiff: tifffile.TiffFile
    series: tifffile.TiffPageSeries
    every_page: tuple[tifffile.TiffPage, ...]
    planes: Planes
    ome: OmeImage | None
    smaller: int
    is_mostly_true: bool | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes in z, y, x. One page is one slice."""
        return (len(self.planes.numbers), *plane_of(self.series))

    @property
    def pages(self) -> tuple[tifffile.TiffPage, ...]:
        """The slices, where each has its own page, else empty."""
        return tuple(self.every_page[number] for number in self.planes.numbers) if self.every_page else ()

    @property
    def is_inverted(self) -> bool:
        """Whether any page stores white as 0."""
        return any(self._stores_white_as_0(page) for page in self.pages or (self.series.keyframe,))

    @property
    def is_doubtful(self) -> bool:
        """Whether only the voxels tell which of two values is bright."""
        page = self.series.keyframe
        is_boolean = page.dtype is not None and page.dtype.kind == "b"
        return is_boolean and page.photometric == tifffile.PHOTOMETRIC.MINISWHITE and self._is_by_tifffile

    @property
    def _is_by_tifffile(self) -> bool:
        return bool(self.tiff.pages.first.software.startswith("tifffile"))

    @property
    def claim(self) -> Claim:
        """What all pages of its series speak of, and what the file has for them."""
        return claim_of_pages(self.series, self.every_page, self.tiff.filehandle.size)

    def refuse_large(self, path: Path, *, by_slices: bool) -> None:
        """Raise TooLargeError if memory does not hold the voxels, or one slice at a time."""
        is_whole = not by_slices or not (self.pages or self.series.dataoffset is not None)
        voxels = math.prod(self._read_at_once if is_whole else self.shape[1:])
        itemsize = np.dtype(self.series.dtype).itemsize
        chunk = largest_chunk(self.pages or (self.series.keyframe,))
        refuse_large(voxels * (itemsize + FLOAT) + chunk * itemsize, voxels * itemsize, path)

    @property
    def _read_at_once(self) -> tuple[int, ...]:
        """Sizes of what is in memory when all is read: other channels, too, where planes have no pages of their own."""
        is_apart = self.every_page or self.series.dataoffset is not None
        return self.shape if is_apart else tuple(self.series.shape)

    def read(self) -> NDArray[Any]:
        """All voxels, brightness up."""
        is_part = math.prod(self.shape) < math.prod(self.series.shape)
        is_apart = bool(self.every_page) or self.series.dataoffset is not None
        # one channel of several, or pages of unlike compression
        if (is_part and is_apart) or len({page.hash for page in self.pages}) > 1:
            voxels = np.empty(self.shape, self.series.dtype)
            for z, plane in enumerate(self.slices()):
                voxels[z] = plane
            return voxels
        every = np.asarray(self.series.asarray()).reshape(-1, *self.shape[1:])
        chosen = every[list(self.planes.numbers)] if is_part else every
        return self._brightness_up(chosen, self.series.keyframe)

    def slices(self) -> Iterator[NDArray[Any]]:
        """The slices (yx), one at a time where the file allows it."""
        if self.pages:
            yield from (self._brightness_up(page.asarray(), page) for page in self.pages)
        elif self.series.dataoffset is not None:
            keyframe = self.series.keyframe
            yield from (self._brightness_up(plane, keyframe) for plane in self._raw_slices(self.series.dataoffset))
        else:
            yield from self.read()

    def _raw_slices(self, offset: int) -> Iterator[NDArray[Any]]:
        """Of an uncompressed stack in one piece, such as ImageJ's, which has one page whatever its depth."""
        _, *plane = self.shape
        dtype = self.series.dtype.newbyteorder(self.tiff.byteorder)
        size = plane[0] * plane[1]
        for number in self.planes.numbers:
            read = self.tiff.filehandle.read_array(dtype, size, offset + number * size * dtype.itemsize)
            yield read.reshape(plane)

    def _brightness_up(self, values: NDArray[Any], page: tifffile.TiffPage) -> NDArray[Any]:
        """`values` of `page` with larger ones brighter."""
        if not self._stores_white_as_0(page):
            return values
        if values.dtype.kind == "b":
            return ~values
        inverted: NDArray[Any] = np.subtract(values.dtype.type(2**page.bitspersample - 1), values, dtype=values.dtype)
        return inverted

    def _stores_white_as_0(self, page: tifffile.TiffPage) -> bool:
        """By its tags, which are defined for unsigned values alone.

        tifffile tags every boolean array so, whatever it means: there the rarer value is the bright one.
        """
        if page.photometric != tifffile.PHOTOMETRIC.MINISWHITE or page.dtype is None:
            return False
        kind = page.dtype.kind
        if kind == "b" and self._is_by_tifffile:
            return self._is_mostly_true if self.is_mostly_true is None else self.is_mostly_true
        return kind in "ub"

    @cached_property
    def _is_mostly_true(self) -> bool:
        """Whether more than half of the voxels of a boolean stack are set in the file. TooLargeError as in reading."""
        count, size = self.count_set()
        return 2 * count > size

    def count_set(self) -> tuple[int, int]:
        """How many voxels of a boolean stack are set in the file, of how many. TooLargeError as in reading."""
        self.refuse_large(Path(self.tiff.filehandle.path), by_slices=bool(self.pages))
        planes = (page.asarray() for page in self.pages) if self.pages else [self.series.asarray()]
        counts = [(int(np.count_nonzero(plane)), plane.size) for plane in planes]
        return sum(count for count, _ in counts), sum(size for _, size in counts)


class ColourError(DataError):
    """A stack in colour. It may be a grey one all the same, with equal colours."""


def refuse_colour(what: tifffile.TiffPageSeries | tifffile.TiffPage, path: Path) -> ColourError:
    """The error that `what` is in colour."""
    return ColourError(
        f"it is a colour image ({what.axes}: {shape_text(tuple(what.shape))})",
        remedy="save one colour as a stack of grey slices. tifffile takes a last axis of 3 or 4 for colours: save a "
        "grey stack of that width with tifffile.imwrite(new, tifffile.imread(old), photometric='minisblack'). "
        "ingest.channel does not choose among colours",
        file=path,
    )


def _has_samples(series: tifffile.TiffPageSeries) -> bool:
    """Whether its voxels hold several numbers, side by side or in planes of one slice; an axis of 1 means nothing."""
    axes = zip(str(series.axes)[1:], series.shape[1:], strict=True)
    return any(letter == "S" and size > 1 for letter, size in axes)


def colour_of(series: tifffile.TiffPageSeries) -> int | None:
    """How many colours each voxel of `series` has, side by side or in planes, if they are red, green, blue; else None.

    tifffile calls a grey stack of three or four slices one page of colour planes: such a page of its own has none.
    """
    axes, sizes = str(series.axes), dict(zip(str(series.axes), map(int, series.shape), strict=True))
    is_colour = axes.endswith(("YXS", "SYX")) and axes.count("S") == 1 and sizes["S"] in (3, 4)
    if not is_colour or series.keyframe.photometric != tifffile.PHOTOMETRIC.RGB:
        return None
    are_slices = axes == "SYX" and series.keyframe.software.startswith("tifffile")
    return None if are_slices else sizes["S"]


def find_stack(tiff: tifffile.TiffFile, path: Path, channel: Channel) -> TiffStack:
    """The one stack in `tiff`, that of `channel` where it has several. Smaller pictures (a thumbnail, an overview) and
    levels of a pyramid do not count.

    Raises DataError when there is more than one, when it is in colour, has several channels and none is chosen, or
    several time points, and when planes are missing.
    """
    if tiff.ome_metadata:
        refuse_planes_elsewhere(tiff.ome_metadata, path)
    series, smaller = choose_series(tiff, path)
    if _has_samples(series) or colour_of(series) is not None:
        raise refuse_colour(series, path)
    refuse_missing_planes(tiff, series, path)
    ome = ome_image(tiff, series)
    stack = TiffStack(
        tiff=tiff,
        series=series,
        every_page=pages_of(tiff, series, path),
        planes=choose_planes(series, ome.channels if ome else (), channel, path),
        ome=ome,
        smaller=smaller,
    )
    refuse_impossible(stack.claim, path)
    return stack


def ome_image(tiff: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> OmeImage | None:
    """The Image that describes `series`, if one does. The colours of a slice are one plane."""
    if not tiff.ome_metadata:
        return None
    height, width = series.keyframe.imagelength, series.keyframe.imagewidth
    planes = math.prod(series.shape) // max(height * width * (colour_of(series) or 1), 1)
    index = tiff.series.index(series) if series.kind == "ome" else 0
    return image_of(read_images(tiff.ome_metadata), index, (height, width), planes)


def tiff_claim(path: Path, channel: Channel) -> Claim:
    """What the header of the stack in `path` speaks of, and what the file has for it."""
    with open_tiff(path) as tiff:
        return find_stack(tiff, path, channel).claim
