"""Which files of an archive are its stack, judged by their names alone, as `capillary predict` reads them."""

import itertools
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from posixpath import basename, dirname, join

from serving.failures import Refusal
from stages.common.imaging.suffixes import (
    DETACHED_SUFFIXES,
    SLICE_SUFFIXES,
    SUFFIXES,
    ZARR_METADATA,
    ZARR_SUFFIXES,
    is_ignored,
    is_slice,
    suffix_of,
)

_COMPANION = ".companion.ome"  # the metadata of an OME-TIFF of several files
_MOST_SHOWN = 4
_REMEDY = "pack one stack: an OME-Zarr, a folder of slices, a header with its data file, or a single file"


@dataclass(frozen=True, kw_only=True)
class PackedStack:
    """A stack in an archive: the file at `path`, or, if `is_folder`, what is in that folder.

    `parts` are the files to unpack, all of them in `folder` or below.
    """

    path: str
    is_folder: bool
    parts: tuple[str, ...]

    @property
    def folder(self) -> str:
        """What the stack's own names begin in."""
        return self.path if self.is_folder else dirname(self.path)


def choose_stack(paths: Sequence[str]) -> PackedStack:
    """The only stack among the files `paths`. Raises Refusal (422) for none, several, and what no folder may hold."""
    stacks = list(itertools.islice(itertools.chain(_stores(paths), _others(paths)), _MOST_SHOWN))
    if not stacks:
        raise Refusal(422, "the archive holds no stack", _REMEDY)
    if len(stacks) > 1:
        shown = ", ".join(stack.path or "the files at its top" for stack in stacks)
        raise Refusal(422, f"the archive holds more than one stack: {shown}", _REMEDY)
    return stacks[0]


def _tops(paths: Sequence[str]) -> list[str]:
    """The outermost folders that are Zarr stores."""
    found = {dirname(path) for path in paths if basename(path) in ZARR_METADATA}
    stores = sorted(found, key=lambda store: store.split("/"))  # each directly after those that it is in
    tops: list[str] = []
    for store in stores:
        if not tops or not _is_below(store, tops[-1]):
            tops.append(store)
    return tops


def _is_below(path: str, folder: str) -> bool:
    return folder == "" or path.startswith(f"{folder}/")


def _stores(paths: Sequence[str]) -> Iterator[PackedStack]:
    for top in _tops(paths):
        parts = tuple(path for path in paths if _is_below(path, top))
        yield PackedStack(path=top, is_folder=True, parts=parts)


def _others(paths: Sequence[str]) -> Iterator[PackedStack]:
    """The stacks outside of Zarr stores."""
    tops = _tops(paths)
    by_folder: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        if not any(_is_below(path, top) for top in tops):
            by_folder[dirname(path)].append(basename(path))
    for folder, names in by_folder.items():
        for name in names:
            if _is_file_of_a_stack(name):
                parts = tuple(path for path in paths if _is_below(path, folder))
                is_alone = suffix_of(name) not in DETACHED_SUFFIXES
                path = join(folder, name)
                yield PackedStack(path=path, is_folder=False, parts=(path,) if is_alone else parts)
        yield from _of_slices(folder, names)


def _is_file_of_a_stack(name: str) -> bool:
    """Whether a file is a stack whatever is next to it; a TIFF may be one slice of several, and no file is a Zarr."""
    return suffix_of(name) in SUFFIXES and suffix_of(name) not in ZARR_SUFFIXES and not _may_be_slice(name)


def _may_be_slice(name: str) -> bool:
    return name.lower().endswith(SLICE_SUFFIXES)


def _of_slices(folder: str, names: Sequence[str]) -> Iterator[PackedStack]:
    """The folder of slices, or of an OME-TIFF of several files, or the only TIFF in `folder`."""
    slices = [name for name in names if is_slice(name)]
    has_companion = any(name.lower().endswith(_COMPANION) for name in names)
    if len(slices) == 1 and not has_companion and suffix_of(slices[0]) is not None:
        path = join(folder, slices[0])
        yield PackedStack(path=path, is_folder=False, parts=(path,))
    elif slices:
        strange = [name for name in names if not is_slice(name) and not is_ignored(name)]
        if strange:
            what = f"the archive holds {join(folder, strange[0])} among slices ({', '.join(SLICE_SUFFIXES)})"
            raise Refusal(422, what, "pack the slices of one stack alone")
        yield PackedStack(path=folder, is_folder=True, parts=tuple(join(folder, name) for name in names))
