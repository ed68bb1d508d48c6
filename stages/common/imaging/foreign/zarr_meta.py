"""The metadata of a Zarr store of version 2 or 3, and of OME-Zarr in it: read and judged before a library opens it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from stages.common.errors import DataError
from stages.common.imaging.foreign.axes import MAX_AXES
from stages.common.imaging.formats.damage import GREY_VALUES, damaged, not_a_stack
from stages.common.imaging.suffixes import ZARR_METADATA

MAX_JSON_BYTES = 1 << 24
ARRAY, GROUP, ATTRIBUTES, BOTH = ZARR_METADATA
# codecs that give bytes for bytes, with the name by which bombs.py knows them
_CODECS = {
    **{"blosc": "blosc", "zstd": "zstd", "zlib": "deflate", "gzip": "deflate", "lz4": "lz4"},
    **{"bz2": "bz2", "lzma": "lzma", "crc32c": "", "shuffle": "", "delta": "", "bytes": "", "transpose": ""},
}
_SHARDS = "sharding_indexed"
_XARRAY_AXES = "_ARRAY_DIMENSIONS"  # version 2 has no field of its own for the names of axes


@dataclass(frozen=True, kw_only=True)
class ZarrArray:
    """What the metadata of one array say. `codec` is what packs its chunks ("" for none, see bombs.py).

    `shards` are the sizes of the files, each of several chunks; None if each chunk is a file.
    """

    folder: Path
    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    dtype: np.dtype[Any]
    codec: str
    shards: tuple[int, ...] | None
    axes: tuple[str, ...]


def is_zarr(folder: Path) -> bool:
    """Whether `folder` is a group or an array of Zarr."""
    return any((folder / name).is_file() for name in ZARR_METADATA)


def read_json(file: Path) -> dict[str, Any]:
    """The object in `file`; empty if there is no such file. ValueError for what is not JSON or too large."""
    if not file.is_file():
        return {}
    if file.stat().st_size > MAX_JSON_BYTES:
        raise damaged(file, f"its metadata have more than {MAX_JSON_BYTES:,} bytes")
    content = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise damaged(file, "its metadata are not a JSON object")
    return content


def attributes(folder: Path) -> Mapping[str, Any]:
    """Those of OME, in the group `folder`: version 0.5 has them in their own object."""
    inner = read_json(folder / BOTH).get("attributes")
    found = inner if isinstance(inner, dict) else read_json(folder / ATTRIBUTES)
    ome = found.get("ome")
    return ome if isinstance(ome, dict) else found


def read_array(folder: Path, path: Path) -> ZarrArray:
    """The array in `folder`. Raises DataError if it is missing, has no numbers or is packed by an unknown codec."""
    old, new = read_json(folder / ARRAY), read_json(folder / BOTH)
    if not old and new.get("node_type") != "array":
        raise DataError(f"its level {folder.name!r} is missing", remedy="copy the whole folder again", file=path)
    try:
        array = _version_2(folder, old, path) if old else _version_3(folder, new, path)
    except (KeyError, TypeError, AttributeError) as error:
        raise damaged(path, f"the metadata of its array {folder.name!r} are incomplete ({error})") from error
    sizes = (*array.shape, *array.chunks, *(array.shards or ()))
    if not len(array.shape) == len(array.chunks) <= MAX_AXES or min(sizes, default=0) < 1:
        raise not_a_stack(path, f"it holds an array of shape {array.shape} in chunks of {array.chunks}")
    return array


def _sizes(values: Sequence[Any]) -> tuple[int, ...]:
    return tuple(int(value) for value in values)


def _version_2(folder: Path, meta: Mapping[str, Any], path: Path) -> ZarrArray:
    if not isinstance(meta["dtype"], str):
        raise not_a_stack(path, "its voxels have several parts each")
    packed = [*(meta.get("filters") or []), *([meta["compressor"]] if meta["compressor"] else [])]
    return ZarrArray(
        folder=folder,
        shape=_sizes(meta["shape"]),
        chunks=_sizes(meta["chunks"]),
        dtype=np.dtype(meta["dtype"]),
        codec=_codec([str(codec["id"]) for codec in packed], path),
        shards=None,
        axes=_names(read_json(folder / ATTRIBUTES).get(_XARRAY_AXES)),
    )


def _version_3(folder: Path, meta: Mapping[str, Any], path: Path) -> ZarrArray:
    if not isinstance(meta["data_type"], str):
        raise not_a_stack(path, "its voxels are of a type that is not supported", GREY_VALUES)
    if meta.get("storage_transformers"):
        raise not_a_stack(path, "it is stored through a transformer, which is not read")
    codecs, shards = list(meta["codecs"]), None
    chunks = _sizes(meta["chunk_grid"]["configuration"]["chunk_shape"])
    if codecs and codecs[0]["name"] == _SHARDS:
        inner = codecs[0]["configuration"]
        if codecs[1:]:
            what = f"its shards are packed once more, by {str(codecs[1]['name'])[:40]}, which is not read"
            raise not_a_stack(path, what, "save it with the compressor within the shards")
        shards, chunks, codecs = chunks, _sizes(inner["chunk_shape"]), [*inner["codecs"], *inner["index_codecs"]]
    return ZarrArray(
        folder=folder,
        shape=_sizes(meta["shape"]),
        chunks=chunks,
        dtype=np.dtype(meta["data_type"]),
        codec=_codec([str(codec["name"]) for codec in codecs], path),
        shards=shards,
        axes=_names(meta.get("dimension_names")),
    )


def _names(listed: Any) -> tuple[str, ...]:
    return tuple(map(str, listed)) if isinstance(listed, list) else ()


def _codec(names: Sequence[str], path: Path) -> str:
    """The one that packs. Raises DataError for those that are not known: some build objects from bytes."""
    names = [name.removeprefix("numcodecs.") for name in names]
    if strange := [name for name in names if name not in _CODECS]:
        text = f"it is stored by the codec {strange[0][:40]!r}, which is not read"
        raise DataError(text, remedy="save it with blosc, zstd or gzip", file=path)
    return next((_CODECS[name] for name in names if _CODECS[name]), "")


def below(folder: Path, place: Any, path: Path) -> Path:
    """The array that the metadata of `folder` call `place`. DataError for a name that leads out of it."""
    written = PurePosixPath(str(place))
    if not isinstance(place, str) or written.is_absolute() or ".." in written.parts or "\\" in place or "\0" in place:
        raise damaged(path, f"its metadata name the array {str(place)[:60]!r}, which is outside it")
    return folder / written
