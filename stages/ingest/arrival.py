"""One stack from the source into data/raw, in a form that every stage reads."""

import contextlib
import posixpath
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from stages.common.errors import DataError
from stages.common.imaging.foreign.meta_image import meta_data_file
from stages.common.imaging.foreign.nrrd_file import nrrd_data_file
from stages.common.imaging.foreign.ome_set import set_files
from stages.common.imaging.foreign.slices import choose_names
from stages.common.imaging.foreign.zarr_store import unread_levels
from stages.common.imaging.formats.channels import Channel
from stages.common.imaging.formats.geometry import Geometry
from stages.common.imaging.formats.header import StackHeader
from stages.common.imaging.formats.tiff.ome import ElsewhereError
from stages.common.imaging.formats.tiff.stack import ColourError
from stages.common.imaging.reading import open_stack
from stages.common.imaging.stacks import open_plain, refusing_damage
from stages.common.imaging.suffixes import (
    HDF5_SUFFIXES,
    PLAIN_SUFFIXES,
    ZARR_METADATA,
    ZARR_SUFFIXES,
    is_pattern,
    split_inside,
    suffix_of,
)
from stages.common.imaging.zyx import Spacing
from stages.ingest.plain_files import write_plain
from stages.ingest.sources.source import Source

CONVERTED = "stacks that are not a TIFF or NIfTI of one channel are kept as one in data/raw; the source stays as it was"
MAX_FILES = 1 << 18
_DETACHED = {".nhdr": nrrd_data_file, ".mhd": meta_data_file}


@dataclass(frozen=True, kw_only=True)
class RawCopy:
    """A stack in data/raw. `header` is that of the source's file; None if it cannot be read.

    `is_converted`: `file` is not a copy of the source's. `geometry` is that of a copy, if it has one.
    """

    file: Path
    header: StackHeader | None
    is_converted: bool
    geometry: Geometry | None = None


def parts_of(source: Source, path: str) -> list[str]:
    """The files of `source` that make up the stack at `path`, as far as their names tell.

    Raises DataError for a folder or a pattern that holds no stack.
    """
    suffix = suffix_of(path)
    if is_pattern(path):
        folder, _, pattern = path.rpartition("/")
        return [posixpath.join(folder, name) for name in choose_names(source.names(folder), pattern, Path(path))]
    if suffix in HDF5_SUFFIXES:
        return [split_inside(path)[0]]
    if suffix is not None and suffix not in ZARR_SUFFIXES:
        return [path]
    found = source.below(path)
    if not found:
        what = "it is neither a file of a known format nor a folder with files in it (web servers do not list folders)"
        raise DataError(what, remedy="correct its name, or name a file", file=path)
    if len(found) > MAX_FILES:
        what = f"the folder holds {len(found):,} files, the limit is {MAX_FILES:,}"
        raise DataError(what, remedy="save the stack as one file, or in larger chunks", file=path)
    return [posixpath.join(path, name) for name in found]


def files_to_expect(source: Source, path: str) -> list[str]:
    """`parts_of`, with the files that may hold the voxels of a header; none if `fetch_stack` says what is wrong."""
    with contextlib.suppress(DataError):
        if suffix_of(path) in _DETACHED:
            folder, _, name = path.rpartition("/")
            stem = name.rpartition(".")[0]
            return [path, *(posixpath.join(folder, each) for each in source.names(folder) if each.startswith(stem))]
        return parts_of(source, path)
    return []


def fetch_stack(
    source: Source, path: str, stem: Path, scratch: Path, channel: Channel, level_um: Spacing | None = None
) -> RawCopy:
    """Bring the stack at `path` to `stem` with a suffix; one of several channels, or of another form than TIFF and
    NIfTI, as a new file. `scratch` is a folder to be made and removed. Of a pyramid in OME-Zarr only the level that is
    read is fetched: that nearest to `level_um`, or the finest.

    Raises DataError if it is missing or not what was asked for, ServiceError when a server fails.
    """
    suffix = suffix_of(path)
    if suffix in PLAIN_SUFFIXES and not is_pattern(path):
        file = stem.with_name(f"{stem.name}{suffix}")
        source.fetch(path, file)
        try:
            copy = _copy(file, channel)
        except ColourError:
            return _converted(file, stem.with_name(f"{stem.name}_grey"), stem, channel)
        except ElsewhereError:
            scratch.mkdir()
            try:
                return _converted(_with_others(source, path, file, scratch), None, stem, channel)
            finally:
                shutil.rmtree(scratch)
        if copy.header is None or len(copy.header.channels) == 1:
            return copy
        return _converted(file, stem.with_name(f"{stem.name}_channel"), stem, channel)
    scratch.mkdir()
    try:
        return _converted(_fetch_parts(source, path, scratch, level_um), None, stem, channel, level_um)
    finally:
        shutil.rmtree(scratch)


def _copy(file: Path, channel: Channel) -> RawCopy:
    """`file` as it came. Raises ElsewhereError for one file of several that make up a stack, ColourError for colours.

    A file that the check of its voxels refuses has no header; where a channel is asked for, that is said here.
    """
    try:
        with open_plain(file, channel) as stack:
            return RawCopy(file=file, header=stack.header, geometry=stack.geometry, is_converted=False)
    except (ElsewhereError, ColourError):
        raise
    except DataError:
        if channel is not None:
            raise
        return RawCopy(file=file, header=None, is_converted=False)


def _with_others(source: Source, path: str, file: Path, scratch: Path) -> Path:
    """`file` under its own name in `scratch`, and the files of its set next to it."""
    with refusing_damage(file):
        others = set_files(file)
    own = scratch / posixpath.basename(path)
    file.rename(own)
    missing = list(others)
    while missing:
        source.expect(posixpath.join(posixpath.dirname(path), name) for name in missing)
        for name in missing:
            with contextlib.suppress(DataError):  # reading the set says which file is missing
                source.fetch(posixpath.join(posixpath.dirname(path), name), scratch / name)
        # metadata in a companion name further files
        missing = [name for name in set_files(own) if name not in others and not (scratch / name).exists()]
        others = [*others, *missing]
    return own


def _converted(
    came: Path, written: Path | None, stem: Path, channel: Channel, level_um: Spacing | None = None
) -> RawCopy:
    """`came` as a new file at `stem`. `written` is where it is made first, if `came` has that name itself."""
    with open_stack(came, channel, level_um) as stack:
        made = write_plain(stack, written or stem)
        header = stack.header
    if written is None:
        return RawCopy(file=made, header=header, is_converted=True)
    came.unlink()
    return RawCopy(
        file=made.rename(stem.with_name(f"{stem.name}{suffix_of(made.name)}")), header=header, is_converted=True
    )


def _fetch_parts(source: Source, path: str, scratch: Path, level_um: Spacing | None) -> Path:
    """The stack at `path` under `scratch`, as it is in the source; returns its path there."""
    file, place = split_inside(path)
    is_folder = not is_pattern(path) and (suffix_of(path) is None or suffix_of(path) in ZARR_SUFFIXES)
    folder = path if is_folder else posixpath.dirname(file)
    # a folder keeps its own name: by that it is known to be one
    here = scratch / posixpath.basename(path) if is_folder else scratch
    names = [part[len(folder) :].lstrip("/") for part in parts_of(source, path)]
    meta = [name for name in names if is_folder and posixpath.basename(name) in ZARR_METADATA]
    _fetch_all(source, folder, meta, here)
    unread = tuple(f"{name}/" for name in unread_levels(here, level_um)) if meta else ()
    _fetch_all(source, folder, [name for name in names if name not in meta and not name.startswith(unread)], here)
    if is_folder:
        return here
    if reader := _DETACHED.get(suffix_of(path) or ""):
        _fetch_detached(source, here / posixpath.basename(path), folder, reader)
    name = posixpath.basename(file)
    return here / (f"{name}:" if place else name) / place


def _fetch_all(source: Source, folder: str, names: Iterable[str], here: Path) -> None:
    """The files `names` below `folder` of the source, below `here`."""
    for name in names:
        target = here / name
        target.parent.mkdir(parents=True, exist_ok=True)
        source.fetch(posixpath.join(folder, name), target)


def _fetch_detached(source: Source, header: Path, folder: str, reader: Callable[[Path], str | None]) -> None:
    """The file with the voxels of `header`. One that is missing or leads elsewhere is refused when it is read."""
    with refusing_damage(header):
        name = reader(header)
    if name is None or posixpath.isabs(name) or ".." in name.split("/") or "\\" in name or "\0" in name:
        return
    target = header.parent / name
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        with contextlib.suppress(DataError):
            source.fetch(posixpath.join(folder, name), target)
