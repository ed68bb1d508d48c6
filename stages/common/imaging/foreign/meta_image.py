"""MetaImage (.mha, .mhd): a text header of `name = value` lines, and the voxels after it or in a file next to it."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from stages.common.imaging.foreign.links import detached_file
from stages.common.imaging.foreign.raw_voxels import (
    FLAT,
    MAX_HEAD_BYTES,
    RawVoxels,
    evidence_of,
    nowhere,
    open_raw,
    world,
)
from stages.common.imaging.formats.channels import Channel
from stages.common.imaging.formats.damage import GREY_VALUES, damaged, not_a_stack
from stages.common.imaging.formats.geometry import Geometry
from stages.common.imaging.formats.header import micrometres
from stages.common.imaging.formats.opened import OpenStack

_TYPES = {
    **{"MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4", "MET_UINT": "u4"},
    **{"MET_LONG": "i4", "MET_ULONG": "u4", "MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8"},
    **{"MET_FLOAT": "f4", "MET_DOUBLE": "f8"},
}
_LAST = "ElementDataFile"
_PLACE = ("Offset", "Position", "Origin")  # names of one field, of which a header has one
_TURNS = ("TransformMatrix", "Rotation", "Orientation")
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])


@contextlib.contextmanager
def open_meta_image(path: Path, channel: Channel) -> Iterator[OpenStack]:
    """The stack of `channel` in `path`. Raises DataError and ValueError for what it cannot hold."""
    fields, end = _fields(path)
    sizes = tuple(int(size) for size in _field(fields, path, "DimSize").split())
    if len(sizes) != int(_field(fields, path, "NDims")):
        raise damaged(path, "NDims and DimSize disagree")
    sizes = sizes[:3] + tuple(size for size in sizes[3:] if size != 1)
    sizes = (*sizes, 1) if len(sizes) == 2 else sizes
    geometry = _geometry(fields, sizes)
    evidence = FLAT if fields["NDims"] == "2" else evidence_of(geometry, "MetaImage ElementSpacing")
    yield open_raw(_voxels(fields, path, sizes, end), geometry, evidence, channel)


def meta_data_file(path: Path) -> str | None:
    """The name of the file that holds the voxels of `path`, None if `path` does itself."""
    name = _field(_fields(path)[0], path, _LAST)
    return None if name.upper() == "LOCAL" else name


def _fields(path: Path) -> tuple[dict[str, str], int]:
    """The header, and where it ends. Names are case-sensitive, as in ITK."""
    with path.open("rb") as stream:
        head = stream.read(MAX_HEAD_BYTES)
    fields: dict[str, str] = {}
    at = 0
    while _LAST not in fields:
        end = head.find(b"\n", at)
        line = head[at : end if end >= 0 else len(head)].decode("latin-1")
        name, separator, value = line.partition("=")
        if end < 0 and name.strip() != _LAST:
            raise damaged(path, f"its header has no {_LAST} in its first {len(head):,} bytes")
        if not separator and line.strip():
            raise damaged(path, f"its header has a line without '=' ({line.strip()[:40]!r})")
        fields[name.strip()] = value.strip()
        at = end + 1 if end >= 0 else len(head)
    return fields, at


def _field(fields: Mapping[str, str], path: Path, *names: str) -> str:
    found = next((fields[name] for name in names if name in fields), None)
    if found is None:
        raise damaged(path, f"its header lacks {names[0]}")
    return found


def _is_true(fields: Mapping[str, str], *names: str) -> bool:
    return any(fields.get(name, "False").lower() in ("true", "1") for name in names)


def _voxels(fields: Mapping[str, str], path: Path, sizes: tuple[int, ...], end: int) -> RawVoxels:
    kind = _field(fields, path, "ElementType")
    if kind not in _TYPES:
        raise not_a_stack(path, f"its voxels are {kind[:40]}, which is not supported", GREY_VALUES)
    if fields.get("BinaryData", "True").lower() not in ("true", "1"):
        raise not_a_stack(path, "its voxels are written as text (BinaryData = False)")
    order = ">" if _is_true(fields, "BinaryDataByteOrderMSB", "ElementByteOrderMSB") else "<"
    name = _field(fields, path, _LAST)
    if name.upper().startswith("LIST") or "%" in name:
        raise not_a_stack(path, "its voxels are spread over several files")
    is_local = name.upper() == "LOCAL"
    skip = int(fields.get("HeaderSize", "0"))
    return RawVoxels(
        header=path,
        file=path if is_local else detached_file(path, name),
        begin=end if is_local else None if skip == -1 else max(skip, 0),
        sizes_xyz=sizes,
        dtype=np.dtype(order + _TYPES[kind]),
        packing="deflate" if _is_true(fields, "CompressedData") else "",
        channels=max(int(fields.get("ElementNumberOfChannels", "1")), 1),
    )


def _numbers(fields: Mapping[str, str], names: tuple[str, ...], count: int) -> list[float] | None:
    text = next((fields[name] for name in names if name in fields), None)
    numbers = None if text is None else [float(number) for number in text.split()]
    return numbers if numbers is not None and len(numbers) >= count else None


def _geometry(fields: Mapping[str, str], sizes: tuple[int, ...]) -> Geometry:
    """ITK's world is LPS, and in mm by habit, whatever the numbers mean. ITK always writes where the array is."""
    count = int(fields.get("NDims", "3"))
    steps = _numbers(fields, ("ElementSpacing", "ElementSize"), count) or [1.0] * count
    if not fields.keys() & {*_PLACE, *_TURNS}:
        x, y, z = (abs(step) for step in [*steps, 1.0][:3])
        return nowhere(sizes, (x, y, z), source="ElementSpacing", unit=_unit(fields))
    origin = _numbers(fields, _PLACE, count) or [0.0] * count
    turns = _numbers(fields, _TURNS, count * count)
    if count == 2:
        turns, steps, origin = None, [*steps, 1.0], [*origin, 0.0]
    # each row of the text is the direction of one axis of the array; further axes are of 1
    axes = np.eye(3) if turns is None else np.array(turns[: count**2]).reshape(count, count)[:3, :3].T
    directions = _LPS_TO_RAS @ axes @ np.diag(np.array(steps[:3]))
    return world(sizes, directions, _LPS_TO_RAS @ np.array(origin[:3]), source="TransformMatrix", unit=_unit(fields))


def _unit(fields: Mapping[str, str]) -> str:
    """By MetaIO's own field, which ITK does not write; by NIfTI's names where it has one."""
    unit = fields.get("DistanceUnits", "")
    scale = micrometres(unit)
    return {1.0: "micron", 1e3: "mm", 1e6: "meter"}.get(scale, unit) if scale else "unknown"
