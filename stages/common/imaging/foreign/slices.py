"""A folder of slices, or the files that a pattern names, one slice each, as one stack."""

import contextlib
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.common.errors import DataError
from stages.common.imaging.foreign.colour import IN_COLOUR, open_colour
from stages.common.imaging.foreign.links import refuse_links
from stages.common.imaging.foreign.ome_set import open_ome_set, set_files
from stages.common.imaging.foreign.png import png_dtype, png_is_colour, png_shape, read_png
from stages.common.imaging.formats.channels import Channel
from stages.common.imaging.formats.damage import not_a_stack, shape_text
from stages.common.imaging.formats.header import SINGLE, SpacingEvidence, StackHeader
from stages.common.imaging.formats.opened import OpenStack
from stages.common.imaging.formats.tiff.header import INVERTED
from stages.common.imaging.formats.tiff.ome import ElsewhereError
from stages.common.imaging.formats.tiff.stack import ColourError
from stages.common.imaging.stacks import (
    is_doubtful,
    open_plain,
    read_stack,
    refuse_other_forms,
    refusing_damage,
)
from stages.common.imaging.suffixes import SLICE_SUFFIXES, is_ignored, is_pattern, is_slice, pattern_of

MAX_SLICES = 1 << 16
_NUMBERS = re.compile(r"(\d+)")
_PATTERN = "name those of one stack by a pattern, such as folder/z*.tif or folder/z{z}_c0.tif"
_NO_DEPTH = "no distance between slices"


@contextlib.contextmanager
def open_slices(path: Path, channel: Channel) -> Iterator[OpenStack]:
    """The stack whose slices are the files in the folder `path`, or those that the pattern `path` stands for. They may
    be one multi-file OME-TIFF.

    Raises DataError for slices that differ in size or type, names that do not tell their order, numbers that are
    missing, and files that are neither slices nor known to mean nothing.
    """
    files = _files(path)
    if _are_one_set(files):
        with open_ome_set(files[0], channel) as stack:
            yield replace(stack, path=path)
        return
    yield _open_each(files, path, channel)


def _are_one_set(files: Sequence[Path]) -> bool:
    """Whether `files` are the planes of one multi-file OME-TIFF, as Bio-Formats exports a stack: its own map counts."""
    first = files[0]
    if _is_png(first):
        return False
    try:
        refuse_other_forms(first)
    except ElsewhereError:
        with refusing_damage(first):
            return {file.name for file in files} <= {first.name, *set_files(first)}
    except DataError:  # whoever reads it says what is wrong
        return False
    return False


def _open_each(found: Sequence[Path], path: Path, channel: Channel) -> OpenStack:
    """The stack whose slices are the files `found`, in the order of their numbers."""
    files, remarks = ordered(found, path)
    shape, dtype, is_inverted = _shape_and_type(files[0], channel)
    for number, file in enumerate(files[1:], 2):
        size, kind, stores_white_as_0 = _shape_and_type(file, channel)
        is_inverted |= stores_white_as_0
        if (other := (size, kind)) != (shape, dtype):
            told, first = (f"{shape_text(each)} of {type_}" for each, type_ in (other, (shape, dtype)))
            what = f"its slices differ: {file.name} (slice {number}) is {told}, the first {first}"
            raise not_a_stack(path, what, "save all slices with the same size and type")
    doubtful = frozenset(
        file for file in files if dtype.kind == "b" and not _is_png(file) and is_doubtful(file, channel)
    )
    is_mostly_true = _is_mostly_true(doubtful, channel)
    with _naming(files[0]):
        header = _header(files[0], channel)
    # which value is bright may depend on all slices, and not be the same in each
    is_inverted = is_mostly_true if doubtful else is_inverted or header.is_inverted
    others = tuple(remark for remark in header.remarks if remark != INVERTED)
    header = replace(header, is_inverted=is_inverted, remarks=(*others, INVERTED) if is_inverted else others)
    return OpenStack(
        path=path,
        shape_zyx=(len(files), *shape),
        dtype=dtype,
        describe=lambda: replace(
            header, axes="ZYX", remarks=(*header.remarks, *remarks), slice_numbers=_numbering(files)
        ),
        slices=lambda: (
            _stored(file, channel) ^ is_mostly_true if file in doubtful else _read(file, channel) for file in files
        ),
    )


def _files(path: Path) -> list[Path]:
    folder = path.parent if is_pattern(path.name) and not path.is_dir() else path
    if not folder.is_dir():
        raise DataError("the folder of slices does not exist", remedy="correct its name", file=folder)
    refuse_links(folder, deep=False)
    names = sorted(entry.name for entry in folder.iterdir())
    return [folder / name for name in choose_names(names, path.name if folder != path else "", path)]


def choose_names(names: Sequence[str], pattern: str, path: Path) -> list[str]:
    """Those of `names` in a folder that are slices: what `pattern` stands for, by default all that can be one."""
    if pattern:
        if len(re.findall(r"\*|\{z\}", pattern)) > 1:
            raise not_a_stack(path, "its pattern has more than one place for the number of a slice", _PATTERN)
        wanted = pattern_of(pattern)
        chosen = [name for name in names if wanted.fullmatch(name) and is_slice(name)]
    else:
        chosen = [name for name in names if is_slice(name)]
        strange = [name for name in names if not is_slice(name) and not is_ignored(name)]
        if strange:
            what = f"the folder holds {strange[0]!r}, which is not a slice ({', '.join(SLICE_SUFFIXES)})"
            raise DataError(what, remedy="take it out, or name the slices by a pattern (folder/z*.tif)", file=path)
    if not chosen:
        what = f"no file is called {pattern}" if pattern else "the folder holds no slices"
        raise DataError(f"{what} ({', '.join(SLICE_SUFFIXES)})", remedy="correct the name", file=path)
    if len(chosen) > MAX_SLICES:
        raise not_a_stack(path, f"it has {len(chosen):,} slices, the limit is {MAX_SLICES:,}", _PATTERN)
    return chosen


def ordered(files: Sequence[Path], path: Path) -> tuple[list[Path], tuple[str, ...]]:
    """`files` by the one number in which their names differ, and remarks on the numbering.

    Raises DataError if no such number tells the order, a number comes twice or one is missing.
    """
    if len(files) == 1:
        return list(files), (SINGLE,)
    parts = [_NUMBERS.split(file.stem.lower()) for file in files]
    first = parts[0]
    for file, other in zip(files, parts, strict=True):
        if other[::2] != first[::2]:
            text = f"its slices have different kinds of names: {files[0].name} and {file.name}"
            raise not_a_stack(path, f"{text}; name them by a pattern (folder/z*.tif)", _PATTERN)
    places = [place for place in range(1, len(first), 2) if len({int(other[place]) for other in parts}) > 1]
    if len(places) > 1:
        text = f"the names of its slices differ in {len(places)} numbers ({files[0].name}, {files[-1].name})"
        what = f"{text}; name those of one channel by a pattern with {{z}} (folder/z{{z}}_c0.tif)"
        raise not_a_stack(path, what, _PATTERN)
    numbered = sorted(
        (int(other[places[0]]) if places else 0, file.name, file) for other, file in zip(parts, files, strict=True)
    )
    remark = _check_numbers([(number, name) for number, name, _ in numbered], path)
    return [file for _, _, file in numbered], remark


def _numbering(files: Sequence[Path]) -> tuple[int, int] | None:
    """The first number of `files`, which are in order, and the step to the next; None for a single one."""
    if len(files) == 1:
        return None
    parts = (_NUMBERS.split(file.stem.lower())[1::2] for file in files[:2])
    pairs = ((int(one), int(other)) for one, other in zip(*parts, strict=True))
    return next((one, other - one) for one, other in pairs if one != other)


def _check_numbers(numbered: Sequence[tuple[int, str]], path: Path) -> tuple[str, ...]:
    pairs = list(itertools.pairwise(numbered))
    steps = [after[0] - before[0] for before, after in pairs]
    for (before, after), step in sorted(zip(pairs, steps, strict=True), key=lambda pair: pair[1] > 0):
        if step == 0:
            what = f"two of its slices have the same number: {before[1]} and {after[1]}"
            raise not_a_stack(path, what, f"take one of them out, or {_PATTERN}")
        if step != min(steps):
            text = f"slices are missing between number {before[0]} and {after[0]} ({before[1]}, {after[1]})"
            raise not_a_stack(path, text, "add the missing slices, or number the others without gaps")
    if steps[0] == 1:
        return ()
    return (f"the numbers of its slices go up in steps of {steps[0]}; they are taken as neighbours",)


@contextlib.contextmanager
def _naming(file: Path) -> Iterator[None]:
    """Say in which of the slices something is wrong."""
    try:
        yield
    except DataError as error:
        raise DataError(
            f"slice {file.name}: {error.what}", remedy=error.remedy, file=file, value=error.value
        ) from error


def _is_png(file: Path) -> bool:
    return file.name.lower().endswith(".png")


def _shape_and_type(file: Path, channel: Channel) -> tuple[tuple[int, int], np.dtype[Any], bool]:
    """With whether it stores white as 0; of a boolean one only the voxels tell that."""
    with _naming(file):
        if _is_png(file):
            return png_shape(file, channel), png_dtype(file), False
        try:
            with open_plain(file, channel) as stack:
                (depth, y, x), dtype = stack.shape_zyx, stack.dtype
                is_inverted = dtype.kind != "b" and stack.header.is_inverted
        except ColourError:
            with open_colour(file, channel) as opened:
                (depth, y, x), dtype, is_inverted = opened.shape_zyx, opened.dtype, False
        if depth > 1:
            what = f"it holds {depth} slices itself; name the file as the stack"
            remedy = "name the file as the stack, for several a folder for their masks; send the service one at a time"
            raise not_a_stack(file, what, remedy)
        return (y, x), dtype, is_inverted


def _read(file: Path, channel: Channel) -> NDArray[Any]:
    with _naming(file):
        try:
            plane = read_png(file) if _is_png(file) else read_stack(file, channel)[0]
        except ColourError:
            with open_colour(file, channel) as opened:
                plane = next(iter(opened.slices()))
        return plane.astype(plane.dtype.newbyteorder("="), copy=False)


def _stored(file: Path, channel: Channel) -> NDArray[Any]:
    """A boolean slice as it is in its file."""
    with _naming(file):
        return _read(file, channel) ^ _header_of(file, channel).is_inverted


def _header_of(file: Path, channel: Channel) -> StackHeader:
    with open_plain(file, channel) as stack:
        return stack.header


def _is_mostly_true(files: Iterable[Path], channel: Channel) -> bool:
    """Whether more than half of the voxels of the boolean slices `files` are set in them."""
    counts = [(int(np.count_nonzero(plane)), plane.size) for plane in (_stored(file, channel) for file in files)]
    return 2 * sum(count for count, _ in counts) > sum(size for _, size in counts)


def _header(file: Path, channel: Channel) -> StackHeader:
    """Of the first slice. A slice knows nothing of the next one, unless its metadata describe the whole stack."""
    if _is_png(file):
        colour = (IN_COLOUR,) if png_is_colour(file) else ()
        return StackHeader(axes="ZYX", spacing=SpacingEvidence(numbers_zyx=None), remarks=colour)
    try:
        header = _header_of(file, channel)
    except ColourError:
        with open_colour(file, channel) as opened:
            header = opened.header
    remarks = tuple(remark for remark in header.remarks if remark != SINGLE)
    spacing = header.spacing
    if any(_NO_DEPTH in remark for remark in spacing.remarks):
        spacing = SpacingEvidence(
            numbers_zyx=None, missing=f"its slices give x and y ({spacing.source}), but {_NO_DEPTH}"
        )
    return replace(header, spacing=spacing, remarks=remarks)
