"""How many bytes of voxels the pages of a TIFF claim, and how many the file holds for them."""

import math
from collections.abc import Sequence

import tifffile

from stages.common.imaging.formats.claims import DEFLATE, PLAIN, Claim, Packing

# What each can make of a file of equal bytes. LZW: the longest string of its table for each code of 12 bits, before it
# has to start again. Zstandard: a block of 128 KiB in 4 bytes. LZMA: measured. The others (JPEG 2000, fax codes and the
# like) can store an empty page in a few bytes.
_PACKINGS: dict[int, Packing] = {
    tifffile.COMPRESSION.NONE: PLAIN,
    tifffile.COMPRESSION.ADOBE_DEFLATE: DEFLATE,
    tifffile.COMPRESSION.DEFLATE: DEFLATE,
    tifffile.COMPRESSION.LZW: Packing(name="LZW", expansion=1400),
    tifffile.COMPRESSION.PACKBITS: Packing(name="PackBits", expansion=64),
    tifffile.COMPRESSION.LZMA: Packing(name="LZMA", expansion=8000),
    tifffile.COMPRESSION.ZSTD: Packing(name="Zstandard", expansion=1 << 15),
}
_OTHER = Packing(name="the most of any codec", expansion=1 << 15)
_LARGEST_LEFT_OUT = 1 << 18  # voxels of a tile: 512 × 512


def claim_of_pages(series: tifffile.TiffPageSeries, pages: Sequence[tifffile.TiffPage], file_bytes: int) -> Claim:
    """The claim of `series`, whose slices are `pages` (none if it is in one piece or in volumetric tiles).

    Tiles count whole, and data that several pages share count once. Empty tiles that the file leaves out, as GDAL and
    tifffile write sparse labels, claim nothing.
    """
    page = series.keyframe
    planes = max(1, math.prod(series.shape) // max(1, math.prod(page.shape)))
    packing = max((_packing_of(each) for each in pages or (page,)), key=lambda each: each.expansion)
    held = file_bytes
    if pages and packing is not PLAIN:
        held = min(file_bytes, sum(_segments(pages).values()))
    voxels = planes * _voxels(page) - sum(map(_left_out, pages))
    return Claim(stored_bytes=-(-voxels * page.bitspersample // 8), held_bytes=held, packing=packing)


def _packing_of(page: tifffile.TiffPage) -> Packing:
    return _PACKINGS.get(page.compression, _OTHER)


def _voxels(page: tifffile.TiffPage) -> int:
    """Of one page, with what its tiles have beyond its edges."""
    shown = math.prod(page.shape)
    return max(shown, math.prod(page.chunked) * math.prod(page.chunks)) if page.is_tiled else shown


def _left_out(page: tifffile.TiffPage) -> int:
    """Voxels of the tiles of `page` that have no data; none if tiles are larger than those of any usual file."""
    tile = math.prod(page.chunks)
    if not page.is_tiled or tile > _LARGEST_LEFT_OUT:
        return 0
    places = zip(page.dataoffsets, page.databytecounts, strict=False)
    return tile * sum(place == size == 0 for place, size in places)


def _segments(pages: Sequence[tifffile.TiffPage]) -> dict[int, int]:
    """Bytes of each strip or tile, by its place in the file."""
    found: dict[int, int] = {}
    for page in pages:
        for place, size in zip(page.dataoffsets, page.databytecounts, strict=False):
            found[place] = max(found.get(place, 0), size)
    return found


def largest_chunk(pages: Sequence[tifffile.TiffPage]) -> int:
    """Voxels of the largest strip or tile: one is decoded whole, whatever it has beyond the edges of the page."""
    return max(math.prod(page.chunks) for page in pages)
