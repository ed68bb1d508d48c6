"""A grey stack that a program saved in colour: red, green and blue are equal in every voxel, and one of them is read.

Many viewers and annotation tools save labels so. Whether the planes are equal shows only when they are read.
"""

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from stages.common.imaging.formats.channels import Channel
from stages.common.imaging.formats.claims import refuse_impossible
from stages.common.imaging.formats.damage import damaged
from stages.common.imaging.formats.header import SINGLE, StackHeader
from stages.common.imaging.formats.opened import OpenStack, check_dtype
from stages.common.imaging.formats.tiff.claims import claim_of_pages
from stages.common.imaging.formats.tiff.header import TURNED, evidence_in, orientation_of
from stages.common.imaging.formats.tiff.pages import choose_series
from stages.common.imaging.formats.tiff.stack import colour_of, ome_image, open_tiff, refuse_colour

IN_COLOUR = "it is stored in colour: red is read, and refused unless green and blue are equal to it"


@contextlib.contextmanager
def open_colour(path: Path, channel: Channel) -> Iterator[OpenStack]:
    """The stack in `path`. Its slices raise DataError where the colours differ.

    Raises DataError for several axes besides the colours, and for a chosen channel: a grey stack has one, 0.
    """
    with open_tiff(path) as tiff:
        series, _ = choose_series(tiff, path)
        pages = _pages(tiff, series, path)
        if channel not in (None, 0):  # "it has 1 channel (0)" would lead to the next refusal
            raise refuse_colour(series, path)
        refuse_impossible(claim_of_pages(series, pages, tiff.filehandle.size), path)
        dtype = np.dtype(series.dtype)
        check_dtype(dtype, path)
        y, x = pages[0].imagelength, pages[0].imagewidth
        yield OpenStack(
            path=path,
            shape_zyx=(len(pages), y, x),
            dtype=dtype.newbyteorder("="),
            describe=lambda: StackHeader(
                axes="ZYX",
                spacing=evidence_in(tiff, series, ome_image(tiff, series)),
                orientation=orientation_of(pages[0]),
                remarks=(
                    *(IN_COLOUR, *((SINGLE,) if len(pages) == 1 else ())),
                    *((TURNED.format(turned),) if (turned := orientation_of(pages[0])) != 1 else ()),
                ),
            ),
            slices=lambda: (_grey(page, path) for page in pages),
        )


def _pages(tiff: tifffile.TiffFile, series: tifffile.TiffPageSeries, path: Path) -> list[tifffile.TiffPage]:
    """A page for each slice, with its colours."""
    wanted = tuple(map(int, series.shape))
    planes = math.prod(wanted[:-3])
    if colour_of(series) is None or sum(size > 1 for size in wanted[:-3]) > 1:
        raise refuse_colour(series, path)
    if planes > len(tiff.pages) or len(series) != planes:
        raise damaged(path, f"it declares {planes:,} planes and holds {len(tiff.pages):,}")
    found = (tiff.pages.get(page.index, aspage=True) for page in series if page is not None)
    pages = [page for page in found if isinstance(page, tifffile.TiffPage)]
    if len(pages) != planes or any((page.shape, page.dtype) != (wanted[-3:], series.dtype) for page in pages):
        raise refuse_colour(series, path)
    return pages


def _grey(page: tifffile.TiffPage, path: Path) -> NDArray[Any]:
    """One of three equal colours; transparency, which may come fourth, says nothing of brightness."""
    voxels: NDArray[Any] = page.asarray()
    red, green, blue, *_ = np.moveaxis(voxels, page.axes.index("S"), 0)
    if not (np.array_equal(red, green) and np.array_equal(red, blue)):
        raise refuse_colour(page, path)
    return np.ascontiguousarray(red).astype(voxels.dtype.newbyteorder("="), copy=False)
