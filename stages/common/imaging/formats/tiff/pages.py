"""Which pages of a TIFF are the stack, and whether all that it declares are there."""

import contextlib
import math
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tifffile

from stages.common.errors import DataError
from stages.common.imaging.formats.damage import damaged, not_a_stack, shape_text
from stages.common.imaging.formats.tiff.axes import plane_of
from stages.common.imaging.formats.tiff.directories import voxel_tags
from stages.common.imaging.formats.tiff.ome import claimed_planes, read_images

_MANY_PLANES = 2**20
_UNNAMED = {"Q", "I"}  # what tifffile calls an axis of which it knows nothing


def choose_series(tiff: tifffile.TiffFile, path: Path) -> tuple[tifffile.TiffPageSeries, int]:
    """The one stack in `tiff`, by its axes and shape, and how many coarser levels of it there are.

    Raises DataError when the file holds several, when a page that is left out may be one of the slices, and when an
    ImageJ header speaks of more planes than there are.
    """
    _check_imagej_claim(tiff, path)
    claimed = claimed_planes(tiff.ome_metadata) if tiff.ome_metadata else 0
    if claimed > _MANY_PLANES:  # tifffile makes a list of as many
        _check_planes(claimed, len(tiff.pages), path)
    found = _series_of(tiff)
    if not found:
        raise ValueError("it has no page that can be read")
    stacks = _stacks_among(found)
    largest = max(stacks, key=lambda series: math.prod(series.shape))
    levels = [series for series in stacks if series is not largest and _is_level(series, largest)]
    others = [series for series in stacks if series is not largest and series not in levels]
    if others:
        shapes = "; ".join(shape_text(tuple(series.shape)) for series in [largest, *others][:4])
        raise not_a_stack(path, f"it holds {1 + len(others)} stacks ({shapes}), a volume is one")
    pictures = [series.keyframe for series in found if series not in stacks and series.kind != "ome"]
    _refuse_lost_slices(largest, pictures, path)
    return largest, sum(len(series.levels) for series in (largest, *levels)) - 1


def _refuse_lost_slices(stack: tifffile.TiffPageSeries, others: Sequence[tifffile.TiffPage], path: Path) -> None:
    """Raise DataError for a page of `others` that is between those of `stack`, or as high or as wide: it may be a slice
    that was saved in another way. A small picture comes first or last, and OME-XML names each image.
    """
    numbers, first = _numbers_of(stack), stack.keyframe
    for page in others:
        if not isinstance(page.index, int) or not numbers:
            continue
        is_alike = page.imagelength == first.imagelength or page.imagewidth == first.imagewidth
        if is_alike or min(numbers) < page.index < max(numbers):
            told, other = (f"{shape_text(each.shape)} of {each.dtype}" for each in (page, first))
            if told == other:
                raise _left_out(page, path)
            raise not_a_stack(path, f"its planes differ: plane {page.index + 1} is {told}, others {other}")


def refuse_unread_planes(tiff: tifffile.TiffFile, series: tifffile.TiffPageSeries, path: Path) -> None:
    """Raise DataError for a page that is like the slices of `series` and beyond what the metadata declare, as where the
    count of planes in OME-XML or by ImageJ is an old one. An LSM has thumbnails.
    """
    declared = math.prod(series.shape) // max(math.prod(series.keyframe.shape), 1)
    used = {*sorted(_numbers_of(series))[:declared]}.union(
        *(_numbers_of(each) for each in tiff.series if each is not series)
    )
    unread = [] if tiff.is_lsm else sorted({*range(len(tiff.pages))} - used)
    for page in _whole_pages(tiff, list(dict.fromkeys([*unread[:1], *unread[-1:]]))):
        if (page.shape, page.dtype) == (series.keyframe.shape, series.keyframe.dtype):
            raise _left_out(page, path)


def _left_out(page: tifffile.TiffPage, path: Path) -> DataError:
    told = f"{shape_text(page.shape)} of {page.dtype}"
    what = f"its metadata leave out plane {int(page.index) + 1}, which is like its slices ({told})"
    return not_a_stack(path, what, "save the stack again (in Fiji: Save As, Tiff), without other pictures")


def _numbers_of(series: tifffile.TiffPageSeries) -> set[int]:
    """The places of its pages among those of the file, of levels in SubIFDs none. Pages in one piece follow each other:
    to parse them takes half a millisecond each.
    """
    first = series.keyframe.index
    if series.dataoffset is not None:
        return set(range(first, first + len(series))) if isinstance(first, int) else set()
    numbers = set()
    with contextlib.suppress(IndexError):  # it declares more than there are
        for page in series:
            if page is not None and isinstance(page.index, int):
                numbers.add(page.index)
    return numbers


def _series_of(tiff: tifffile.TiffFile) -> list[tifffile.TiffPageSeries]:
    """tifffile's series, but one for all pages of a kind where they differ in compression alone. An LSM has a thumbnail
    after each page, which tifffile lists second.
    """
    series = list(tiff.series)[: 1 if tiff.is_lsm else None]
    is_page_by_page = all(each.kind == "shaped" and each.axes == "YX" for each in series)
    if len(series) < 2 or not (is_page_by_page or all(each.kind == "generic" for each in series)):
        return series
    kinds: dict[tuple[Any, ...], list[tifffile.TiffPage]] = defaultdict(list)
    for page in _whole_pages(tiff, range(len(tiff.pages))):
        kinds[page.shape, page.dtype, page.axes].append(page)
    if len(kinds) == len(series):
        return series
    return [
        tifffile.TiffPageSeries(pages, (len(pages), *shape), dtype, f"I{axes}", parent=tiff, kind="generic")
        for (shape, dtype, axes), pages in kinds.items()
    ]


def _stacks_among(found: list[tifffile.TiffPageSeries]) -> list[tifffile.TiffPageSeries]:
    """Those with a third axis besides colours; if there is none, whatever comes first."""
    deep = [series for series in found if len(series.shape) - series.axes.count("S") >= 3]
    return deep or [series for series in found if len(series.shape) >= 3] or found


def _is_level(series: tifffile.TiffPageSeries, largest: tifffile.TiffPageSeries) -> bool:
    """Whether `series` is `largest` at a whole fraction of its resolution, in plane or on all axes."""
    if not _are_same_axes(series.axes, largest.axes) or series.dtype != largest.dtype:
        return False
    *depths, height, width = largest.shape
    *levels, y, x = series.shape
    factor = round(width / x)
    in_plane = factor > 1 and _is_fraction(y, height, factor) and _is_fraction(x, width, factor)
    return in_plane and (
        levels == depths or all(_is_fraction(z, whole, factor) for z, whole in zip(levels, depths, strict=True))
    )


def _are_same_axes(some: str, others: str) -> bool:
    """Whether no axis has another name. Many writers name those of the full resolution alone."""
    pairs = zip(some, others, strict=False)
    return len(some) == len(others) and all(one == other or _UNNAMED & {one, other} for one, other in pairs)


def _is_fraction(size: int, whole: int, factor: int) -> bool:
    return abs(size - whole / factor) < 1  # rounded up or down


def refuse_missing_planes(tiff: tifffile.TiffFile, series: tifffile.TiffPageSeries, path: Path) -> None:
    """Raise DataError when `series` declares more planes than the file holds; tifffile would read them as black."""
    declared = math.prod(series.get_shape(squeeze=False)) // max(math.prod(series.keyframe.shape), 1)
    present = _planes_in(tiff, series)
    if tiff.ome_metadata and series.kind != "ome":
        height, width = series.keyframe.imagelength, series.keyframe.imagewidth
        images = read_images(tiff.ome_metadata)
        alike = [image.planes for image in images if (image.sizes["Y"], image.sizes["X"]) == (height, width)]
        declared = max(declared, min(alike, default=0))
    _check_planes(declared, present, path)


def _planes_in(tiff: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> int:
    """How many planes of `series` the file holds."""
    if series.dataoffset is not None:
        return _planes_in_one_piece(tiff, series.keyframe, series.dataoffset)
    try:
        return sum(page is not None for page in series)
    except IndexError:
        return len(tiff.pages)


def _planes_in_one_piece(tiff: tifffile.TiffFile, page: tifffile.TiffPage, offset: int) -> int:
    """How many uncompressed planes fit between `offset` and what comes after them."""
    end = tiff.filehandle.size
    following = [offset for other in tiff.pages[1:2] for offset in (other.offset, *other.dataoffsets[:1])]
    room = min((place for place in following if place is not None and place > offset), default=end) - offset
    return max(room // max(page.nbytes, 1), len(tiff.pages))


def _check_imagej_claim(tiff: tifffile.TiffFile, path: Path) -> None:
    """ImageJ's own count of planes; tifffile falls back to the pages that are there."""
    said: Any = tiff.imagej_metadata if tiff.is_imagej else None
    page = tiff.pages.first
    if not said or page.samplesperpixel > 1 or not page.dataoffsets:
        return
    counts = [said.get(name, 1) for name in ("slices", "frames", "channels", "images")]
    slices, frames, channels, images = (count if isinstance(count, int) else 1 for count in counts)
    # one page may hold a whole stack, uncompressed
    in_one_piece = _planes_in_one_piece(tiff, page, page.dataoffsets[0]) if page.is_final else 0
    _check_planes(max(slices * frames * channels, images), max(in_one_piece, len(tiff.pages)), path)


def _check_planes(declared: int, present: int, path: Path) -> None:
    if declared > present:
        raise damaged(path, f"it declares {declared:,} planes and holds {present:,}")


def pages_of(tiff: tifffile.TiffFile, series: tifffile.TiffPageSeries, path: Path) -> tuple[tifffile.TiffPage, ...]:
    """The pages of `series`, each with its own compression, if they are its slices; none for a stack in one piece,
    unless its pages differ in how their numbers are read, such as in which of them white is 0.

    Raises DataError when one of them has another shape or type than the first.
    """
    if series.dataoffset is not None and not _are_unlike(tiff, series, path):
        return ()
    found = [page for page in series if page is not None]
    pages = [page if isinstance(page, tifffile.TiffPage) else _own_page(tiff, page) for page in found]
    first = series.keyframe
    for number, page in enumerate(pages, 1):
        if (page.shape, page.dtype) != (first.shape, first.dtype):
            told, other = (f"{shape_text(each.shape)} of {each.dtype}" for each in (page, first))
            raise not_a_stack(path, f"its planes differ: plane {number} is {told}, the first {other}")
    plane = plane_of(series)
    is_each = first.shape == plane and len(pages) * math.prod(plane) == math.prod(series.shape)
    return tuple(pages) if is_each else ()


def _are_unlike(tiff: tifffile.TiffFile, series: tifffile.TiffPageSeries, path: Path) -> bool:
    """Whether the pages of `series`, whose voxels follow each other, are to be read in different ways. tifffile takes
    all of them for the first.
    """
    numbers = _numbers_of(series)
    if len(numbers) < 2:
        return False
    stream: Any = tiff.filehandle  # which reads and seeks as a file does
    told = voxel_tags(stream, path)
    return len({told[number] for number in numbers if number < len(told)}) > 1


def _own_page(tiff: tifffile.TiffFile, frame: tifffile.TiffFrame) -> tifffile.TiffPage:
    """`frame` with all of its own tags: tifffile takes those of the first page for it."""
    (page,) = _whole_pages(tiff, [frame.index])
    return page if page.offset == frame.offset or frame.keyframe is None else frame.keyframe


def _whole_pages(tiff: tifffile.TiffFile, numbers: Sequence[int]) -> list[tifffile.TiffPage]:
    found = (tiff.pages.get(number, aspage=True) for number in numbers)
    return [page for page in found if isinstance(page, tifffile.TiffPage)]
