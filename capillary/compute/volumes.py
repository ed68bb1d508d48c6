"""How large the volumes of a run are: from what preprocess made, what ingest found, or the headers of the source."""

import ast
import csv
import importlib
import importlib.util
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.common.errors import CapillaryError
from stages.common.imaging.suffixes import suffix_of
from stages.common.imaging.zyx import Shape

MOST_FILES = 500  # of a source, whose headers are read
_READERS = ("tifffile", "nibabel", "numpy")


@dataclass(frozen=True, kw_only=True)
class Volumes:
    """Shapes of the volumes that are trained on, and how many of their voxels preprocess is still to write."""

    shapes: tuple[Shape, ...]
    unmade_voxels: int


def find_volumes(root: Path, params: Mapping[str, Any]) -> Volumes:
    """The volumes of the workspace `root`; none if they cannot be known yet, as those of a URL."""
    if made := _made(root / "data" / "processed"):
        return Volumes(shapes=made, unmade_voxels=0)
    resample = (params.get("preprocess") or {}).get("resample_to_um")
    found = _ingested(root / "data" / "raw" / "volumes.csv", resample)
    found = found or _in_source(root, str((params.get("ingest") or {}).get("source", "")))
    most = (params.get("preprocess") or {}).get("max_volumes")
    shapes = tuple(found[:most])
    return Volumes(shapes=shapes, unmade_voxels=sum(map(math.prod, shapes)))


def npy_shape(file: Path) -> Shape | None:
    """The shape in the header of a .npy file, without NumPy; None if it is none of three axes."""
    with file.open("rb") as stream:
        start = stream.read(10)
        if start[:6] != b"\x93NUMPY" or len(start) < 10:
            return None
        length = int.from_bytes(start[8:10], "little") if start[6] == 1 else None
        if length is None:
            length = int.from_bytes(start[8:10] + stream.read(2), "little")
        text = stream.read(length).decode("latin-1")
    try:
        shape = ast.literal_eval(text.strip())["shape"]
    except (ValueError, SyntaxError, KeyError, TypeError):
        return None
    return _shape_of(shape)


def _made(folder: Path) -> tuple[Shape, ...]:
    files = sorted(folder.glob("*/image.npy")) if folder.is_dir() else []
    return tuple(shape for file in files if (shape := npy_shape(file)) is not None)


def _ingested(file: Path, resample_to_um: Sequence[float] | None) -> list[Shape]:
    """Ingest's table of valid volumes, resampled where that is asked for."""
    if not file.is_file():
        return []
    found = []
    with file.open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            try:
                shape = [int(row[f"shape_{axis}"]) for axis in "zyx"]
                spacing_um = [float(row[f"spacing_{axis}_um"]) for axis in "zyx"]
            except (KeyError, TypeError, ValueError):
                return []  # not ingest's table: ingest writes it again
            found.append(_resampled((shape[0], shape[1], shape[2]), spacing_um, resample_to_um))
    return found


def _resampled(shape: Shape, spacing_um: Sequence[float], target_um: Sequence[float] | None) -> Shape:
    if target_um is None:
        return shape
    axes = zip(shape, spacing_um, target_um, strict=True)
    z, y, x = (max(1, round(size * now / wanted)) for size, now, wanted in axes)
    return z, y, x


def _in_source(root: Path, source: str) -> list[Shape]:
    """Headers of the stacks in a folder, where the libraries that read them are there (the launcher may lack them).

    Images and labels alike: a label is as large as its image, so the largest is right, and the sum is twice too large.
    """
    folder = root / source
    if "://" in source or not folder.is_dir() or any(importlib.util.find_spec(name) is None for name in _READERS):
        return []
    read_shape = importlib.import_module("stages.common.imaging.stacks").read_shape  # of the extra `stages`
    files = [file for file in sorted(folder.rglob("*")) if suffix_of(file.name) is not None and file.is_file()]
    shapes = []
    for file in files[:MOST_FILES]:
        try:
            shapes.append(read_shape(file))
        except CapillaryError:
            continue  # ingest says what is wrong with it
    return shapes[::2] if len(shapes) > 1 else shapes


def _shape_of(value: object) -> Shape | None:
    if not isinstance(value, list | tuple) or len(value) != 3 or not all(isinstance(size, int) for size in value):
        return None
    z, y, x = value
    return z, y, x
