"""NRRD (.nrrd, .nhdr): pynrrd reads the header; the voxels are read here, so that they stay within what it claims."""

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.common.imaging.foreign.axis_names import letters_of
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
from stages.common.imaging.formats.channels import Channel, refuse_times
from stages.common.imaging.formats.damage import GREY_VALUES, damaged, not_a_stack, shape_text
from stages.common.imaging.formats.geometry import Geometry
from stages.common.imaging.formats.header import SpacingEvidence
from stages.common.imaging.formats.opened import OpenStack

_PACKINGS = {"raw": "", "gzip": "deflate", "gz": "deflate", "bzip2": "bzip2", "bz2": "bzip2"}
_TYPES = {
    **dict.fromkeys(("signed char", "int8", "int8_t"), "i1"),
    **dict.fromkeys(("uchar", "unsigned char", "uint8", "uint8_t"), "u1"),
    **dict.fromkeys(("short", "short int", "signed short", "signed short int", "int16", "int16_t"), "i2"),
    **dict.fromkeys(("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"), "u2"),
    **dict.fromkeys(("int", "signed int", "int32", "int32_t"), "i4"),
    **dict.fromkeys(("uint", "unsigned int", "uint32", "uint32_t"), "u4"),
    **dict.fromkeys(("longlong", "long long", "long long int", "signed long long", "int64", "int64_t"), "i8"),
    **dict.fromkeys(("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"), "u8"),
    **{"float": "f4", "double": "f8"},
}
_SIGNS = {"right": 1, "left": -1, "anterior": 1, "posterior": -1, "superior": 1, "inferior": -1}
_SHORT = {"ras": "right-anterior-superior", "las": "left-anterior-superior", "lps": "left-posterior-superior"}
_IN_SPACE = ("domain", "space", "")
_LIST = re.compile(r"data ?file:\s*LIST\b", re.IGNORECASE)
_END = re.compile(rb"\r?\n\r?\n")
_UNITS = {"microns": "micron", "micrometer": "micron", "um": "micron", "μm": "micron", "µm": "micron"}


@contextlib.contextmanager
def open_nrrd(path: Path, channel: Channel) -> Iterator[OpenStack]:
    """The stack of `channel` in `path`. Raises DataError and ValueError for what it cannot hold."""
    header, end = _header(path)
    sizes = tuple(int(size) for size in np.atleast_1d(header.get("sizes", [])))
    if not 2 <= len(sizes) <= 5:
        raise not_a_stack(path, f"it holds an array of shape {shape_text(sizes[::-1])}, not a stack in z, y, x")
    space = _axes_of_space(header, sizes, path)
    geometry = _geometry(header, sizes, space)
    field = "NRRD space directions" if _directions(header, len(sizes)) is not None else "NRRD spacings"
    evidence = evidence_of(geometry, field) if len(space) == 3 else FLAT
    if len(space) == 3 and field == "NRRD spacings" and (unknown := _without_spacing(header, space)):
        missing = f"its NRRD spacings give none along {', '.join(unknown)}"
        evidence = SpacingEvidence(numbers_zyx=None, missing=missing)
    yield open_raw(_voxels(header, path, sizes, space, end), geometry, evidence, channel)


def _without_spacing(header: Mapping[str, Any], space: tuple[int, ...]) -> list[str]:
    """The axes whose spacing is missing, or written as unknown (NaN): a unit alone does not make it 1."""
    spacings = np.atleast_1d(header.get("spacings", []))
    known = [axis < len(spacings) and bool(np.isfinite(float(spacings[axis]))) for axis in space]
    axes_zyx = _by_labels(header, space)
    return ["zyx"[axes_zyx.index(place)] for place, is_known in enumerate(known) if not is_known]


def nrrd_data_file(path: Path) -> str | None:
    """The name of the file that holds the voxels of `path`, None if `path` does itself."""
    header, _ = _header(path)
    name = header.get("data file", header.get("datafile"))
    return None if name is None else str(name)


def _header(path: Path) -> tuple[Mapping[str, Any], int]:
    """The fields as pynrrd has them, and where the header ends."""
    import nrrd

    with path.open("rb") as stream:
        head = stream.read(MAX_HEAD_BYTES)
    found = _END.search(head)
    if found is None and len(head) == MAX_HEAD_BYTES:
        raise damaged(path, f"its header does not end within {MAX_HEAD_BYTES:,} bytes")
    lines = _text(head[: found.start() if found else len(head)]).splitlines()
    if not lines or not lines[0].startswith("NRRD"):
        raise damaged(path, "it is not an NRRD file")
    if any(_LIST.match(line) for line in lines):  # file names follow, not fields
        raise not_a_stack(path, "its voxels are spread over several files")
    try:
        header: Mapping[str, Any] = nrrd.read_header([*(f"{line}\n" for line in lines), "\n"])
    except nrrd.NRRDError as error:
        raise damaged(path, " ".join(str(error).split())[:160]) from error
    return header, found.end() if found else len(head)


def _text(head: bytes) -> str:
    """UTF-8, else Latin-1, in which programs on Windows write µ."""
    try:
        return head.decode("utf-8")
    except UnicodeDecodeError:
        return head.decode("latin-1")


def _directions(header: Mapping[str, Any], count: int) -> NDArray[np.float64] | None:
    """A row for each axis, NaN for one that is not in space; None without."""
    if "space directions" not in header:
        return None
    rows = [np.full(3, np.nan) if row is None else np.asarray(row, np.float64) for row in header["space directions"]]
    if len(rows) != count or any(row.shape != (3,) for row in rows):
        return None
    return np.stack(rows)


def _axes_of_space(header: Mapping[str, Any], sizes: tuple[int, ...], path: Path) -> tuple[int, ...]:
    """Which axes of the array are in space: by their direction, else by their kind or spacing, else the first three.

    Raises DataError if another one is time, and where more than three may be in space.
    """
    kinds = [
        str(kind).lower().replace("none", "").replace("???", "") for kind in header.get("kinds", [""] * len(sizes))
    ]
    directions = _directions(header, len(sizes))
    if directions is not None:
        space = tuple(axis for axis, row in enumerate(directions) if np.isfinite(row).all())
    else:
        space = _undirected(header, sizes, [axis for axis, kind in enumerate(kinds) if kind in _IN_SPACE], path)
    for axis in set(range(len(sizes))) - set(space):
        if kinds[axis] == "time":
            refuse_times(sizes[axis], path)
    return space


def _undirected(
    header: Mapping[str, Any], sizes: tuple[int, ...], possible: Sequence[int], path: Path
) -> tuple[int, ...]:
    """Those of the `possible` axes that are in space, without directions. Axes of 1 are passed over if that helps."""
    long = [axis for axis in possible if sizes[axis] > 1]
    if len(long) > 3:  # one of channels has no spacing
        spacings = np.atleast_1d(header.get("spacings", []))
        long = [axis for axis in long if axis < len(spacings) and np.isfinite(float(spacings[axis]))]
        if len(long) != 3:
            shape = shape_text(sizes[::-1])
            what = f"its header does not say which axes of its array of shape {shape} are in space"
            remedy = "add the field kinds to its header, such as `kinds: vector domain domain domain`"
            raise not_a_stack(path, f"{what}; {remedy}", remedy)
    return tuple(long if len(long) == 3 else possible[:3])


def _voxels(
    header: Mapping[str, Any], path: Path, sizes: tuple[int, ...], space: tuple[int, ...], end: int
) -> RawVoxels:
    encoding = str(header.get("encoding", "")).lower()
    if encoding not in _PACKINGS:
        raise not_a_stack(path, f"its voxels are encoded as {encoding[:40]!r}, which is not read")
    rest = [axis for axis, size in enumerate(sizes) if axis not in space and size > 1]
    in_space = tuple(sizes[axis] for axis in space)
    if len(rest) > 1 or len(in_space) not in (2, 3) or (rest and rest[0] not in (0, len(sizes) - 1)):
        raise not_a_stack(path, f"it holds an array of shape {shape_text(sizes[::-1])}, not a stack in z, y, x")
    detached = header.get("data file", header.get("datafile"))
    if isinstance(detached, list) or (detached is not None and (" " in str(detached) and "%" in str(detached))):
        raise not_a_stack(path, "its voxels are spread over several files")
    file = path if detached is None else detached_file(path, str(detached))
    start = 0 if detached is not None else end
    begin = _begin(header, file, start, is_packed=bool(_PACKINGS[encoding]))
    return RawVoxels(
        header=path,
        file=file,
        begin=begin,
        sizes_xyz=in_space if len(in_space) == 3 else (*in_space, 1),
        dtype=_dtype(header, path),
        packing=_PACKINGS[encoding],
        channels=sizes[rest[0]] if rest else 1,
        channels_first=not rest or rest[0] == 0,
    )


def _begin(header: Mapping[str, Any], file: Path, start: int, *, is_packed: bool) -> int | None:
    """The first byte of the voxels: after lines and bytes that the header has passed over. None: they are the end."""
    lines = int(header.get("line skip", header.get("lineskip", 0)))
    skip = int(header.get("byte skip", header.get("byteskip", 0)))
    if skip == -1 and not is_packed:
        return None
    if lines < 0 or skip < 0 or (skip and is_packed):
        raise ValueError(f"it skips {lines} lines and {skip} bytes")
    with file.open("rb") as stream:
        stream.seek(start)
        head = stream.read(MAX_HEAD_BYTES) if lines else b""
    for _ in range(lines):
        start += head.index(b"\n") + 1
        head = head[head.index(b"\n") + 1 :]
    return start + skip


def _dtype(header: Mapping[str, Any], path: Path) -> np.dtype[Any]:
    kind = str(header.get("type", "")).strip()
    if kind not in _TYPES:
        raise not_a_stack(path, f"its voxels are {kind[:40]!r}, which is not supported", GREY_VALUES)
    order = {"little": "<", "big": ">"}.get(str(header.get("endian", "")).lower())
    if order is None and np.dtype(_TYPES[kind]).itemsize > 1:
        what = "its header does not say in which order the bytes of a voxel are"
        raise not_a_stack(path, f"{what}; add `endian: little` or `endian: big`", "add the field endian to its header")
    return np.dtype((order or "<") + _TYPES[kind])


def _geometry(header: Mapping[str, Any], sizes: tuple[int, ...], space: tuple[int, ...]) -> Geometry:
    """In RAS. A space without directions in the body counts as it is. Spacings alone do not say where the grid is."""
    grid = tuple(sizes[axis] for axis in space)
    grid = (*grid, 1) if len(grid) == 2 else grid
    rows, origin = _directions(header, len(sizes)), np.zeros(3)
    if rows is None or len(space) != 3:
        spacings = [abs(float(size)) for size in np.atleast_1d(header.get("spacings", [np.nan] * len(sizes)))]
        steps = tuple(spacings[axis] if np.isfinite(spacings[axis]) else 1.0 for axis in space)
        unit = _unit(header.get("units"), space)
        if unit == "unknown":
            unit = _unit(header.get("space units"), (0, 1, 2))  # which belong to directions
        axes_zyx = _by_labels(header, space)
        source = "spacings" if axes_zyx == (2, 1, 0) else "labels"
        return nowhere(grid, steps, source=source, unit=unit, axes_zyx=axes_zyx)
    signs = np.diag([float(sign) for sign in _signs(str(header.get("space", "")))])
    if "space origin" in header:
        origin = np.nan_to_num(np.asarray(header["space origin"], np.float64))
    unit = _unit(header.get("space units"), (0, 1, 2))
    if unit == "unknown":
        unit = _unit(header.get("units"), space)  # which belong to spacings, and are written here all the same
    return world(grid, signs @ rows[list(space)].T, signs @ origin, source="space directions", unit=unit)


def _by_labels(header: Mapping[str, Any], space: tuple[int, ...]) -> tuple[int, int, int]:
    """Which of the axes in space are z, y and x: as the field `labels` calls them, else in the order of the format."""
    labels = [str(label) for label in header.get("labels", ())]
    letters = letters_of([labels[axis] for axis in space]) if space and max(space) < len(labels) else ""
    return (
        (letters.index("z"), letters.index("y"), letters.index("x"))
        if sorted(letters) == ["x", "y", "z"]
        else (2, 1, 0)
    )


def _signs(space: str) -> tuple[int, ...]:
    """+1 where an axis of `space` points right, anterior or superior, -1 for the opposite."""
    words = _SHORT.get(space.lower(), space.lower()).removesuffix("-time").split("-")
    signs = tuple(_SIGNS.get(word, 0) for word in words)
    return signs if len(signs) == 3 and all(signs) else (1, 1, 1)


def _unit(units: Any, space: tuple[int, ...]) -> str:
    """The unit of length on the axes in space, by NIfTI's names where it has one; "unknown" without."""
    listed = list(units) if isinstance(units, (list, tuple, np.ndarray)) else []
    said = {str(listed[axis]).strip().strip('"').lower() for axis in space if axis < len(listed)} - {"", "none"}
    said = {_UNITS.get(unit, unit) for unit in said}
    return ", ".join(sorted(said)) or "unknown"  # several are no unit of length, which is said
