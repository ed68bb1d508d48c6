"""A stack whose planes are in several OME-TIFF files of one folder, by the map of planes in their OME-XML.

The names of the files come from a stranger's XML: they are names in the same folder, and no links.
"""

import contextlib
import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np
import tifffile
from numpy.typing import NDArray

from stages.common.errors import DataError
from stages.common.imaging.formats.channels import Channel, channel_number, refuse_times
from stages.common.imaging.formats.claims import refuse_impossible
from stages.common.imaging.formats.damage import damaged, not_a_stack, shape_text
from stages.common.imaging.formats.header import SINGLE, StackHeader
from stages.common.imaging.formats.opened import OpenStack, check_dtype
from stages.common.imaging.formats.tiff.axes import Planes
from stages.common.imaging.formats.tiff.directories import MAX_TEXT_BYTES, check_text
from stages.common.imaging.formats.tiff.header import INVERTED
from stages.common.imaging.formats.tiff.ome import OmeImage, elements, parse_xml, read_images, spacing_evidence
from stages.common.imaging.formats.tiff.stack import TiffStack, open_tiff
from stages.common.imaging.suffixes import TIFF_SUFFIXES

MAX_PLANES = 1 << 16
_MOST_NAMED = 4 * MAX_PLANES  # some programs name planes again
_MAX_NAME_BYTES = 255
_COMPANION = ".companion.ome"
_Place = tuple[str, int]  # the name of a file, and the number of a page in it


@dataclass(frozen=True, kw_only=True)
class OmeSet:
    """The one image of a set: what its XML says of it, and the place of each plane by its (z, c)."""

    image: OmeImage
    places: Mapping[tuple[int, int], _Place]

    @property
    def files(self) -> list[str]:
        """The names of the files that hold its planes."""
        return list(dict.fromkeys(name for name, _ in self.places.values()))


def set_files(path: Path) -> list[str]:
    """The names of the files that `path` needs besides itself. None of them has to be there.

    Raises DataError for a name that leads out of the folder, and for a set that is no single stack.
    """
    companion = _companion_of(path)
    if companion is not None and not (path.parent / companion).is_file():
        return [companion]
    wanted = [*([companion] if companion else []), *_read_set(path).files]
    return [name for name in dict.fromkeys(wanted) if name != path.name]


@contextlib.contextmanager
def open_ome_set(path: Path, channel: Channel) -> Iterator[OpenStack]:
    """The stack of `channel` in the set of which `path` is one file. Raises DataError where a file is missing."""
    found = _read_set(path)
    image = found.image
    names = tuple(image.channels) if len(image.channels) == image.sizes["C"] else ("",) * image.sizes["C"]
    number = channel_number(names, channel, path)
    places = [found.places.get((z, number)) for z in range(image.sizes["Z"])]
    whole = [place for place in places if place is not None]
    if len(whole) < len(places):
        raise damaged(path, f"its metadata declare {len(places):,} planes and say where {len(whole):,} of them are")
    dtype, is_inverted = _check_files(whole, image, path)
    remarks = (
        (True, f"its planes are in {len(found.files)} files"),
        (is_inverted, INVERTED),
        (len(places) == 1, SINGLE),
    )
    yield OpenStack(
        path=path,
        shape_zyx=(len(places), image.sizes["Y"], image.sizes["X"]),
        dtype=dtype.newbyteorder("="),
        describe=lambda: StackHeader(
            axes="ZYX",
            spacing=spacing_evidence(image),
            is_inverted=is_inverted,
            channels=names,
            remarks=tuple(text for is_true, text in remarks if is_true),
        ),
        slices=lambda: _slices(whole, path, dtype),
    )


def _slices(places: list[_Place], path: Path, dtype: np.dtype[Any]) -> Iterator[NDArray[Any]]:
    # which of two values is bright depends on all files, not on each for itself
    is_mostly_true = _is_mostly_true(places, path) if dtype.kind == "b" else None
    for stack in _files_of(places, path):
        for plane in replace(stack, is_mostly_true=is_mostly_true).slices():
            yield plane.astype(plane.dtype.newbyteorder("="), copy=False)


def _is_mostly_true(places: list[_Place], path: Path) -> bool:
    """Whether more than half of the voxels are set in those files that do not say which value is bright."""
    counts = [stack.count_set() for stack in _files_of(places, path) if stack.is_doubtful]
    return 2 * sum(count for count, _ in counts) > sum(size for _, size in counts)


def _files_of(places: list[_Place], path: Path) -> Iterator[TiffStack]:
    """The planes at `places`, a stack for those that follow each other in one file, open while it is used."""
    for name, group in itertools.groupby(places, key=lambda place: place[0]):
        with _pages(path, name, [number for _, number in group]) as stack:
            yield stack


def _check_files(places: list[_Place], image: OmeImage, path: Path) -> tuple[np.dtype[Any], bool]:
    """The dtype of all planes, and whether one of them stores white as 0; of boolean ones only the voxels tell that.
    DataError where one is missing, or is unlike the others or the metadata.
    """
    numbers: dict[str, list[int]] = {}
    for name, number in places:
        numbers.setdefault(name, []).append(number)
    found, inverted = set(), set()
    for name, wanted in numbers.items():
        with _pages(path, name, wanted) as stack:
            refuse_impossible(stack.claim, path.parent / name)
            found.add((stack.shape[1:], np.dtype(stack.series.dtype)))
            inverted.add(stack.series.dtype.kind != "b" and stack.is_inverted)
    wanted_shape = (image.sizes["Y"], image.sizes["X"])
    if len(found) > 1 or next(iter(found))[0] != wanted_shape:
        told = ", ".join(f"{shape_text(shape)} of {dtype}" for shape, dtype in sorted(found, key=str))
        raise not_a_stack(path, f"the planes of its files differ: {told}; {shape_text(wanted_shape)} is declared")
    dtype = next(iter(found))[1]
    check_dtype(dtype, path)
    return dtype, any(inverted)


@contextlib.contextmanager
def _pages(path: Path, name: str, numbers: list[int]) -> Iterator[TiffStack]:
    """The pages of these numbers in the file `name`, as one stack."""
    file = path.parent / name
    is_link = file.is_symlink() and name != path.name
    if is_link or not file.is_file():
        what = "is a link, which is not followed" if is_link else "is missing"
        text = f"it is one file of a multi-file OME-TIFF, of which {name} {what}"
        remedy = "put all files of the set into one folder, or save it as one file (in Fiji with Bio-Formats)"
        raise DataError(text, remedy=remedy, file=path)
    with open_tiff(file) as tiff:
        if max(numbers) >= len(tiff.pages):
            raise damaged(file, f"the set's metadata name its plane {max(numbers) + 1}, it holds {len(tiff.pages):,}")
        found = (tiff.pages.get(number, aspage=True) for number in numbers)
        pages = [page for page in found if isinstance(page, tifffile.TiffPage)]
        first = pages[0]
        if any((page.shape, page.dtype) != (first.shape, first.dtype) for page in pages) or len(first.shape) != 2:
            raise not_a_stack(file, "its planes differ in size or type, or are in colour")
        series = tifffile.TiffPageSeries(
            pages, (len(pages), *first.shape), first.dtype, "IYX", parent=tiff, kind="generic"
        )
        yield TiffStack(
            tiff=tiff,
            series=series,
            every_page=tuple(pages),
            planes=Planes(axes="ZYX", numbers=tuple(range(len(pages)))),
            ome=None,
            smaller=0,
        )


def _xml_of(file: Path) -> str:
    with open_tiff(file) as tiff:
        if not tiff.ome_metadata:
            raise damaged(file, "it holds no OME metadata")
        return str(tiff.ome_metadata)


def _companion_of(path: Path) -> str | None:
    """The name of the file that holds the metadata, where `path` names another one than itself."""
    only = next(elements(parse_xml(_xml_of(path)), "BinaryOnly"), None)
    return None if only is None else _safe(only.get("MetadataFile", ""), path)


def _read_set(path: Path) -> OmeSet:
    companion = _companion_of(path)
    if companion is None:
        return _parse_set(_xml_of(path), path, path.name)
    file = path.parent / companion
    if file.is_symlink() or not file.is_file():
        text = f"it is one file of a multi-file OME-TIFF, whose metadata are in {companion}, which is missing or a link"
        raise DataError(text, remedy="put all files of the set into one folder", file=path)
    if not companion.lower().endswith(_COMPANION):
        return _parse_set(_xml_of(file), path, companion)
    with file.open("rb") as stream:
        text_bytes = stream.read(MAX_TEXT_BYTES + 1)
    check_text(text_bytes, len(text_bytes), file)
    return _parse_set(text_bytes.decode("utf-8-sig", "replace"), path, companion)


def _parse_set(xml: str, path: Path, holder: str) -> OmeSet:
    """`holder` is the name of the file with the XML: planes without a file are its own."""
    root = parse_xml(xml)
    own = {root.get("UUID"): holder} if root.get("UUID") else {}
    images = list(zip(elements(root, "Pixels"), read_images(xml), strict=True))
    ours = [each for each in images if len(images) == 1 or path.name in _named(each[0], own, holder, path)]
    if len(ours) != 1:
        raise not_a_stack(path, f"the files of its set hold {len(images)} stacks, a volume is one")
    pixels, image = ours[0]
    sizes = image.sizes
    refuse_times(sizes["T"], path)
    if image.samples > 1:
        raise not_a_stack(path, "the planes of its set are in colour")
    if not 0 < sizes["Z"] * sizes["C"] <= MAX_PLANES:
        raise damaged(path, f"its metadata declare {sizes['Z'] * sizes['C']:,} planes, the limit is {MAX_PLANES:,}")
    return OmeSet(image=image, places=_places(pixels, sizes, own, holder, path))


def _named(pixels: Element, own: Mapping[str | None, str], holder: str, path: Path) -> set[str]:
    return {_file_of(data, own, holder, path) for data in elements(pixels, "TiffData")}


def _places(
    pixels: Element, sizes: Mapping[str, int], own: Mapping[str | None, str], holder: str, path: Path
) -> dict[tuple[int, int], _Place]:
    """Where each plane (z, c) is. What several references say of one plane, the last one decides, as in tifffile."""
    order = [axis for axis in pixels.get("DimensionOrder", "XYZCT")[2:] if axis in "ZCT"]
    if sorted(order) != ["C", "T", "Z"]:
        raise damaged(path, f"its metadata give the order of planes as {pixels.get('DimensionOrder', '')[:20]!r}")
    lengths = [sizes[axis] for axis in order][::-1]
    total = math.prod(lengths)
    found: dict[tuple[int, int], _Place] = {}
    named = 0
    for data in elements(pixels, "TiffData"):
        first = [int(data.get(f"First{axis}", "0")) for axis in order][::-1]
        page = int(data.get("IFD", "0"))
        count = int(data.get("PlaneCount", data.get("NumPlanes", "1" if "IFD" in data.attrib else str(total))))
        if page < 0 or any(not 0 <= at < size for at, size in zip(first, lengths, strict=True)):
            raise damaged(path, "its metadata name a plane that it does not declare")
        named += min(count, total)
        if named > _MOST_NAMED:
            raise damaged(path, f"its metadata name more than {_MOST_NAMED:,} planes")
        start, name = int(np.ravel_multi_index(first, lengths)), _file_of(data, own, holder, path)
        for plane in range(start, min(start + count, total)):
            at = dict(zip(order[::-1], map(int, np.unravel_index(plane, lengths)), strict=True))
            found[at["Z"], at["C"]] = (name, page + plane - start)
    return found


def _file_of(data: Element, own: Mapping[str | None, str], holder: str, path: Path) -> str:
    uuid = next(elements(data, "UUID"), None)
    if uuid is None:
        return holder
    return own.get(uuid.text) or _safe(uuid.get("FileName", ""), path)


def _safe(name: str, path: Path) -> str:
    """`name`, if it is that of a file in the folder of `path`. Raises DataError for anything else."""
    is_short = 0 < len(name.encode("utf-8", "replace")) <= _MAX_NAME_BYTES
    if not is_short or "/" in name or "\\" in name or ":" in name or not name.isprintable():
        text = f"it is one file of a multi-file OME-TIFF, of which another is called {name[:80]!a}"
        raise DataError(f"{text}: no file of its folder", remedy="save the set anew, in one folder", file=path)
    if not name.lower().endswith((*TIFF_SUFFIXES, _COMPANION)):
        text = f"it is one file of a multi-file OME-TIFF, of which {name[:80]!r} is another, which is not a TIFF"
        raise DataError(text, remedy="save the set anew, in one folder", file=path)
    return name
