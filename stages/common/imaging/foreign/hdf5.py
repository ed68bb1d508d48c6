"""A stack in an HDF5 file: the array at a place in it, or the only one that can be a stack."""

import contextlib
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from stages.common.errors import DataError
from stages.common.imaging.foreign.axes import axes_by_shape, choose
from stages.common.imaging.foreign.axis_names import letters_of, unknown_names
from stages.common.imaging.foreign.bombs import Chunk, refuse_bombs
from stages.common.imaging.formats.channels import Channel
from stages.common.imaging.formats.damage import damaged, not_a_stack
from stages.common.imaging.formats.header import SINGLE, SpacingEvidence, StackHeader
from stages.common.imaging.formats.opened import OpenStack, Regions, check_dtype
from stages.common.imaging.suffixes import split_inside

MAX_OBJECTS = 10_000
_SHOWN = 8
_NAME_ONE = "name one: {}:/place/of/array, or /place/of/array in the service's field dataset"
_SPACING = "element_size_um"
# of the library itself and of h5py: deflate, shuffle, checksum, szip, n-bit, scale-offset, LZF
_FILTERS = {1, 2, 3, 4, 5, 6, 32000}
_DEFLATE = 1


@contextlib.contextmanager
def open_hdf5(path: Path, channel: Channel) -> Iterator[OpenStack]:
    """The stack of `channel` in the array that `path` names (file.h5:/place), or in the only one that can be one.

    Raises DataError for a place that is not there or leads to another file, for several arrays without a place, and for
    values that are not numbers.
    """
    import h5py

    name, inside = split_inside(str(path))
    with h5py.File(name, "r", locking=False) as file:
        dataset = _at(file, inside, path) if inside else _only(file, path)
        if dataset.shape is None:
            raise not_a_stack(path, f"{dataset.name} holds no values")
        check_dtype(dataset.dtype, path)
        _check_storage(dataset, path)
        axes, unknown = _axes(dataset, path)
        chosen = choose(axes, dataset.shape, (), channel, path)
        spacing = _evidence(dataset, axes)
        step = chosen.step(dataset.chunks)
        yield OpenStack(
            path=path,
            shape_zyx=chosen.shape_zyx,
            dtype=dataset.dtype.newbyteorder("="),
            describe=lambda: StackHeader(
                axes="ZYX",
                spacing=spacing,
                channels=chosen.channels,
                remarks=tuple(text for text in (unknown, SINGLE if chosen.shape_zyx[0] == 1 else "") if text),
            ),
            slices=lambda: chosen.slices(dataset.__getitem__, step),
            at_once=step,
            regions=Regions(
                read=lambda box: chosen.region(dataset.__getitem__, box), chunks_zyx=chosen.chunks_zyx(dataset.chunks)
            ),
        )


def _at(file: Any, inside: str, path: Path) -> Any:
    """The dataset at `inside`, reached over no link into another file."""
    import h5py

    group = file
    for number, part in enumerate(inside.split("/")):
        link = group.get(part, getlink=True) if isinstance(group, h5py.Group) else None
        if link is None or (isinstance(link, h5py.SoftLink) and part not in group):
            there = ", ".join(_names(group)) if isinstance(group, h5py.Group) else "nothing, it is an array"
            where = "/".join(["", *inside.split("/")[:number]]) or "/"
            text = f"it holds no array at /{inside}; in {where} there is {there or 'nothing'}"
            raise DataError(text, remedy="correct the place after the colon", file=path)
        if isinstance(link, (h5py.ExternalLink, h5py.SoftLink)):
            raise DataError(
                f"/{inside} leads over a link, which is not followed", remedy="name the array itself", file=path
            )
        group = group[part]
    if not isinstance(group, h5py.Dataset):
        names = ", ".join(_names(group)) or "nothing"
        text = f"/{inside} is a group, not an array; it holds {names}"
        raise DataError(text, remedy="name an array in it after the colon", file=path)
    return group


def _names(group: Any) -> list[str]:
    names = sorted(map(str, group))
    return [*names[:_SHOWN], "…"] if len(names) > _SHOWN else names


def _only(file: Any, path: Path) -> Any:
    """The only array that can be a stack."""
    import h5py

    found, waiting, seen = [], [file], 0
    while waiting:
        group = waiting.pop()
        for name in group:
            seen += 1
            if seen > MAX_OBJECTS:
                what = f"it holds more than {MAX_OBJECTS:,} objects; name one (file.h5:/place)"
                raise not_a_stack(path, what, _NAME_ONE.format(path.name))
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                continue
            each = group[name]
            if isinstance(each, h5py.Group):
                waiting.append(each)
            elif (
                isinstance(each, h5py.Dataset) and sum(size > 1 for size in each.shape or ()) >= 3 and each not in found
            ):
                found.append(each)
    if len(found) != 1:
        names = ", ".join(sorted(each.name for each in found)[:_SHOWN]) or "none"
        text = f"it holds {len(found)} arrays of three axes ({names})"
        raise DataError(text, remedy=_NAME_ONE.format(path.name), file=path)
    return found[0]


def _check_storage(dataset: Any, path: Path) -> None:
    """Raise DataError if voxels are in other files, packed by unknown filters, or unpack to more than they claim."""
    if dataset.external or dataset.is_virtual:
        raise DataError(
            "its voxels are in other files (external or virtual storage)", remedy="save it as one file", file=path
        )
    held = Path(split_inside(str(path))[0]).stat().st_size
    if dataset.chunks is None:
        stored = dataset.id.get_storage_size()
        if stored > held:
            raise damaged(path, f"its header claims {stored:,} bytes of voxels, the file has {held:,}")
        return
    plist = dataset.id.get_create_plist()
    filters = [plist.get_filter(number)[0] for number in range(plist.get_nfilters())]
    if strange := set(filters) - _FILTERS:
        text = f"it is compressed by HDF5's filter {min(strange)}, which is not read"
        raise DataError(text, remedy="save it with gzip (h5repack -f GZIP=4)", file=path)
    _check_chunks(dataset, path, is_deflate=_DEFLATE in filters)


def _check_chunks(dataset: Any, path: Path, *, is_deflate: bool) -> None:
    size = math.prod(dataset.chunks) * dataset.dtype.itemsize
    count = dataset.id.get_num_chunks()

    def chunk(number: int) -> Chunk:
        info = dataset.id.get_chunk_info(number)
        return Chunk(size=info.size, read=lambda: bytes(dataset.id.read_direct_chunk(info.chunk_offset)[1]))

    refuse_bombs(map(chunk, range(count)), size, "deflate" if is_deflate else "", path)


def _axes(dataset: Any, path: Path) -> tuple[str, str]:
    """As ilastik (axistags), the labels of the dimensions or their scales (netCDF) name them; else by the shape. With a
    remark on names that say nothing.
    """
    if tagged := _tagged(dataset):
        return (tagged if len(tagged) == len(dataset.shape) else axes_by_shape(dataset.shape, path)), ""
    labels = [str(dimension.label) for dimension in dataset.dims]
    names = labels if all(labels) else _of_scales(dataset)
    if len(names) == len(dataset.shape) and (letters := letters_of(names)):
        return letters, ""
    return axes_by_shape(dataset.shape, path), unknown_names(names)


def _tagged(dataset: Any) -> str:
    text = dataset.attrs.get("axistags")
    if not isinstance(text, (str, bytes)):
        return ""
    try:
        axes = json.loads(text)["axes"]
        return "".join(str(axis["key"])[:1].lower() for axis in axes)
    except (ValueError, LookupError, TypeError):
        return ""


def _of_scales(dataset: Any) -> list[str]:
    """The names of the scales, without the groups that they are in."""
    return [str(dimension[0].name or "").rpartition("/")[2] for dimension in dataset.dims if len(dimension)]


def _evidence(dataset: Any, axes: str) -> SpacingEvidence:
    """`element_size_um`: z, y, x in µm, or one number for each axis of the array."""
    attribute = dataset.attrs.get(_SPACING)
    numbers = np.atleast_1d(np.asarray(attribute)) if attribute is not None else np.array([])
    if numbers.dtype.kind not in "iuf" or numbers.ndim != 1 or len(numbers) not in {3, len(axes)} or len(numbers) < 3:
        return SpacingEvidence(numbers_zyx=None, missing=f"its array has no attribute {_SPACING} (z, y, x in µm)")
    if len(numbers) == 3 and (len(axes) != 3 or "z" not in axes):
        z, y, x = map(float, numbers)
    else:
        z, y, x = (float(numbers[axes.index(letter)]) if letter in axes else math.nan for letter in "zyx")
    if not all(math.isfinite(number) and number > 0 for number in (z, y, x)):
        return SpacingEvidence(numbers_zyx=None, missing=f"its {_SPACING} is {', '.join(map(str, numbers[:5]))}")
    return SpacingEvidence(numbers_zyx=(z, y, x), units_zyx=("µm",) * 3, source=f"HDF5 {_SPACING}")
