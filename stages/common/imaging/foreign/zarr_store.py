"""OME-Zarr 0.4 and 0.5 (Zarr 2 and 3) in a folder: one level of its one image. A plain Zarr array, too."""

import contextlib
import functools
import itertools
import math
import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from stages.common.errors import DataError
from stages.common.imaging.foreign.axes import axes_by_shape, choose
from stages.common.imaging.foreign.axis_names import axis_letter, letters_of, unknown_names
from stages.common.imaging.foreign.bombs import Chunk, refuse_bombs
from stages.common.imaging.foreign.links import refuse_links
from stages.common.imaging.foreign.zarr_meta import (
    ARRAY,
    BOTH,
    ZarrArray,
    attributes,
    below,
    read_array,
    read_json,
)
from stages.common.imaging.foreign.zarr_place import start_um
from stages.common.imaging.formats.channels import Channel
from stages.common.imaging.formats.claims import FLOAT, refuse_large
from stages.common.imaging.formats.damage import damaged, not_a_stack
from stages.common.imaging.formats.header import SINGLE, SpacingEvidence, StackHeader, micrometres, number
from stages.common.imaging.formats.opened import OpenStack, Regions, check_dtype
from stages.common.imaging.zyx import Spacing

_CHUNK = re.compile(r"(c\.)?\d+(\.\d+)*")  # the last part of its key
_TYPES = {"time": "t", "channel": "c"}
_MISSING_CHUNK = 2**64 - 1
LEVEL_SETTING = "ingest.level_um"

Level = tuple[Path, tuple[float, ...]]  # its folder, and its scale along each axis, () for none


@contextlib.contextmanager
def open_zarr(path: Path, channel: Channel, level_um: Spacing | None = None) -> Iterator[OpenStack]:
    """The stack of `channel` in the folder `path`: of a pyramid the level with the spacing nearest to `level_um`, by
    default the finest. Raises DataError for several images, codecs and types that are not read, links that lead out of
    the folder, chunks that cannot be what the metadata say, and a pyramid whose levels have no spacing to choose by.
    """
    refuse_links(path)
    folder = _image_in(path)
    told = attributes(folder)
    image = _image(told, path)
    levels = _levels(image, folder, path) if image else [(folder, ())]
    chosen_folder, scale = _choose_level(levels, image, level_um, path)
    array = read_array(chosen_folder, path)
    check_dtype(array.dtype, path)
    axes = _axes(image, array, path)
    chosen = choose(axes, array.shape, _channel_names(told), channel, path)
    _check_chunks(array, path)
    step = chosen.step(array.chunks)
    opened = functools.cache(lambda: _opened(array))
    remarks = ([_remark(levels, (chosen_folder, scale))] if len(levels) > 1 else []) + _missing_chunks(array)
    if not isinstance(image.get("axes"), list) and (unknown := unknown_names(array.axes)):
        remarks.append(unknown)
    yield OpenStack(
        path=path,
        shape_zyx=chosen.shape_zyx,
        dtype=array.dtype.newbyteorder("="),
        describe=lambda: StackHeader(
            axes="ZYX",
            spacing=_evidence(image, axes, scale),
            channels=chosen.channels,
            remarks=(*remarks, *((SINGLE,) if chosen.shape_zyx[0] == 1 else ())),
            start_um=_start(image, folder, chosen_folder, axes),
        ),
        slices=lambda: chosen.slices(opened().__getitem__, step),
        at_once=step,
        regions=Regions(
            read=lambda box: chosen.region(opened().__getitem__, box), chunks_zyx=chosen.chunks_zyx(array.chunks)
        ),
    )


def unread_levels(path: Path, level_um: Spacing | None) -> tuple[str, ...]:
    """The folders in the store `path` that hold the pyramid's other levels, the ones that are not read.

    Only the metadata must be present. () if it is not a pyramid, or if opening it will report what is wrong.
    """
    with contextlib.suppress(DataError, OSError, TypeError, ValueError):
        folder = _image_in(path)
        image = _image(attributes(folder), path)
        levels = _levels(image, folder, path) if image else []
        chosen = _choose_level(levels, image, level_um, path)[0] if levels else path
        others = (each.relative_to(path) for each, _ in levels if each != chosen)
        return tuple(other.as_posix() for other in others if not chosen.is_relative_to(path / other))
    return ()


def _choose_level(levels: Sequence[Level], image: Mapping[str, Any], level_um: Spacing | None, path: Path) -> Level:
    """The level that is read."""
    if level_um is None or len(levels) == 1:
        return _finest(levels)
    return min(levels, key=lambda level: (_distance(level, image, level_um, path), math.prod(level[1])))


def _remark(levels: Sequence[Level], chosen: Level) -> str:
    if chosen == _finest(levels):
        return f"the store holds a pyramid; the full resolution is read, not the {len(levels) - 1} coarser level(s)"
    return f"the store holds a pyramid; its level {chosen[0].name} is read, the nearest to {LEVEL_SETTING}"


def _finest(levels: Sequence[Level]) -> Level:
    """By spacing; a level without one comes in the order of the list."""
    return min(levels, key=lambda level: math.prod(level[1]) if level[1] else 1.0)


def _distance(level: Level, image: Mapping[str, Any], level_um: Spacing, path: Path) -> float:
    """How many times the spacing of `level` is off from `level_um` on its worst axis, as a logarithm."""
    axes = "".join(map(_letter, image.get("axes") or ()))
    told = _evidence(image, axes, level[1])
    if told.declared_um is None:
        what = f"its level {level[0].name!r} cannot be compared with {LEVEL_SETTING}: {told.missing}"
        raise DataError(what, remedy=f"set {LEVEL_SETTING} to null to read the finest level", file=path)
    return max(abs(math.log(own / asked)) for own, asked in zip(told.declared_um, level_um, strict=True))


def _opened(array: ZarrArray) -> Any:
    import zarr
    from zarr.storage import LocalStore

    return zarr.open_array(store=LocalStore(array.folder, read_only=True), mode="r")


def _image_in(path: Path) -> Path:
    """The group of the image: `path`, or the only one in it where it is a set of images (bioformats2raw)."""
    told = attributes(path)
    if "multiscales" in told or (path / ARRAY).is_file() or read_json(path / BOTH).get("node_type") == "array":
        return path
    if "plate" in told:
        raise not_a_stack(path, "it is a plate of many images; name one of them (plate.zarr/A/1/0)", "name one of them")
    images = [each for each in sorted(path.iterdir()) if each.is_dir() and "multiscales" in attributes(each)]
    if len(images) == 1:
        return images[0]
    if not images:
        raise not_a_stack(path, "it holds neither an OME-Zarr image (multiscales) nor an array")
    names = ", ".join(f"{path.name}/{each.name}" for each in images[:6])
    raise DataError(f"it holds {len(images)} images ({names})", remedy="name one of them", file=path)


def _image(told: Mapping[str, Any], path: Path) -> Mapping[str, Any]:
    """The one entry of `multiscales`; empty without. DataError for several."""
    images = told.get("multiscales")
    if images is None:
        return {}
    if not isinstance(images, list) or not all(map(_is_image, images)):
        raise damaged(path, "its multiscales metadata are not a list of images with datasets")
    if len(images) != 1:
        raise not_a_stack(path, f"it holds {len(images)} images, a volume is one")
    return dict(images[0])


def _is_image(told: Any) -> bool:
    """Whether `told` is an object with a list of datasets, which are objects, and a list of axes if any."""
    datasets = told.get("datasets") if isinstance(told, dict) else None
    if not datasets or not isinstance(datasets, list) or not isinstance(told.get("axes"), list | None):
        return False
    return all(isinstance(dataset, dict) for dataset in datasets)


def _levels(image: Mapping[str, Any], folder: Path, path: Path) -> list[Level]:
    """Each level with its scale along every axis (in the units of the axes), () for one without."""
    shared = _scale(image.get("coordinateTransformations"))
    levels = []
    for dataset in image["datasets"]:
        own = _scale(dataset.get("coordinateTransformations"))
        scale = tuple(a * b for a, b in zip(own, shared, strict=True)) if len(own) == len(shared) else own
        levels.append((below(folder, dataset.get("path"), path), scale))
    return levels


def _start(image: Mapping[str, Any], folder: Path, level: Path, axes: str) -> Spacing | None:
    datasets = (dataset for dataset in image.get("datasets") or () if folder / str(dataset.get("path")) == level)
    return next((start_um(image, dataset, axes) for dataset in datasets), None)


def _scale(transformations: Any) -> tuple[float, ...]:
    steps = [each for each in transformations or () if isinstance(each, dict) and each.get("type") == "scale"]
    numbers = [number(value) for value in steps[0].get("scale", ())] if steps else []
    return tuple(value for value in numbers if value is not None and value > 0) if all(numbers) else ()


def _axes(image: Mapping[str, Any], array: ZarrArray, path: Path) -> str:
    """A letter for each axis: by OME's metadata, by the names of an array's dimensions, or by the shape."""
    axes = image.get("axes")
    if image and axes is None and len(array.shape) == 5:
        return "tczyx"  # versions before 0.3
    # names that a program made up (dim_0) say nothing
    letters = "".join(map(_letter, axes)) if isinstance(axes, list) else letters_of(array.axes)
    return letters if len(letters) == len(array.shape) else axes_by_shape(array.shape, path)


def _letter(axis: Any) -> str:
    if not isinstance(axis, dict):
        return axis_letter(str(axis))
    return _TYPES.get(str(axis.get("type")), axis_letter(str(axis.get("name"))))


def _channel_names(told: Mapping[str, Any]) -> Sequence[str]:
    omero = told.get("omero")
    channels = omero.get("channels") if isinstance(omero, dict) else None
    listed = channels if isinstance(channels, list) else []
    return [str(each.get("label", "")) if isinstance(each, dict) else "" for each in listed]


def _evidence(image: Mapping[str, Any], axes: str, scale: tuple[float, ...]) -> SpacingEvidence:
    """The scale of the level, in the units of the axes."""
    if len(scale) != len(axes) or "z" not in axes:
        return SpacingEvidence(numbers_zyx=None, missing="its metadata give no scale along z, y and x")
    listed = image.get("axes")
    units = {
        letter: str(axis.get("unit", "unknown")) if isinstance(axis, dict) else "unknown"
        for letter, axis in zip(axes, listed if isinstance(listed, list) else [""] * len(axes), strict=True)
    }
    z, y, x = (scale[axes.index(letter)] for letter in "zyx")
    told = [units[letter] for letter in "zyx"]
    if any(micrometres(unit) is None for unit in told):
        text = f"its scale {z:g} × {y:g} × {x:g} has no unit of length ({', '.join(told)})"
        return SpacingEvidence(numbers_zyx=None, missing=text)
    return SpacingEvidence(numbers_zyx=(z, y, x), units_zyx=(told[0], told[1], told[2]), source="OME-Zarr scale")


def _check_chunks(array: ZarrArray, path: Path) -> None:
    """Raise DataError if a chunk is larger than it can be, TooLargeError if memory does not hold one."""
    size = math.prod(array.chunks) * array.dtype.itemsize
    refuse_large(size + math.prod(array.chunks) * FLOAT, size, path)
    if array.shards is not None and any(a % b for a, b in zip(array.shards, array.chunks, strict=True)):
        raise damaged(path, "its shards are not a whole number of chunks")
    files = _chunk_files(array)
    chunks = (
        (_whole(file) for file in files)
        if array.shards is None
        else itertools.chain.from_iterable(
            _in_shard(file, math.prod(array.shards) // math.prod(array.chunks), path) for file in files
        )
    )
    refuse_bombs(chunks, size, array.codec, path)


def _chunk_files(array: ZarrArray) -> Iterator[Path]:
    """One for each chunk or shard that is not left out. Systems leave other files next to them, such as .DS_Store."""
    return (file for file in array.folder.rglob("*") if _CHUNK.fullmatch(file.name) and file.is_file())


def _missing_chunks(array: ZarrArray) -> list[str]:
    """A remark on files that the store does not have. Zarr leaves out those of nothing but the fill value, and what was
    lost in copying is read in the same way.
    """
    sizes = zip(array.shape, array.shards or array.chunks, strict=True)
    count = math.prod(-(-size // step) for size, step in sizes)
    found = sum(1 for _ in _chunk_files(array))
    if found >= count:
        return []
    kind = "chunks" if array.shards is None else "shards"
    return [f"{count - found:,} of its {count:,} {kind} are not in the store, and are read as its fill value"]


def _whole(file: Path) -> Chunk:
    return Chunk(size=file.stat().st_size, read=file.read_bytes)


def _in_shard(file: Path, count: int, path: Path) -> Iterator[Chunk]:
    """The chunks in a shard, by the index at its end (or at its beginning, where it is as long as it can be)."""
    size = file.stat().st_size
    index = 16 * count
    if size < index:
        raise damaged(path, f"its shard {file.name} is too short for {count} chunks")
    with file.open("rb") as stream:
        for begin in (size - index - 4, size - index, 0):  # with a checksum, without, or in front
            if begin < 0:
                continue
            stream.seek(begin)
            places = list(struct.iter_unpack("<QQ", stream.read(index)))
            if all(at == length == _MISSING_CHUNK or at + length <= size for at, length in places):
                break
        else:
            raise damaged(path, f"its shard {file.name} has no index that can be read")

    def chunk(at: int, length: int) -> Chunk:
        return Chunk(size=length, read=lambda: _part(file, at, length))

    yield from (chunk(at, length) for at, length in places if at != _MISSING_CHUNK)


def _part(file: Path, at: int, length: int) -> bytes:
    with file.open("rb") as stream:
        stream.seek(at)
        return stream.read(length)
