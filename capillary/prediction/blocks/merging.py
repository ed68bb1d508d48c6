"""What a job leaves of some blocks, brought into the stores of all blocks. It is untrusted: each file is checked."""

import os
import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from capillary.prediction.blocks.kept import Kept, read_results
from stages.common.errors import CapillaryError, ExitCode
from stages.common.requests.prediction.chunks import LEVEL
from stages.common.requests.prediction.grid import chunk_shape
from stages.common.requests.prediction.records import BLOCKS_FILE, BlockSurvey

_CHUNK = re.compile(rf"{LEVEL}/(\d{{1,9}})/(\d{{1,9}})/(\d{{1,9}})")
_META = (".zgroup", ".zattrs", f"{LEVEL}/.zarray", f"{LEVEL}/.zattrs")


def merge(left: Path, kept: Kept, survey: BlockSurvey, numbers: Collection[int], stores: Sequence[str]) -> None:
    """Move the chunks of the blocks `numbers` from `left` to the stores of the same names, then note the blocks.

    Raises CapillaryError where a job left other files than chunks of its own blocks, or no word of one.
    """
    results = read_results(left / BLOCKS_FILE)
    if {result.number for result in results} != set(numbers):
        raise _unexpected("results of other blocks than those that it was asked for", left)
    for name in stores:
        for file in sorted(_files(left / name)):
            _move(file, left / name, kept.work / name, survey, numbers)
    kept.add(results)


def _move(file: str, source: Path, target: Path, survey: BlockSurvey, numbers: Collection[int]) -> None:
    place = target / file
    if file in _META:
        if place.exists():
            return
    elif owner_of(file, survey) not in numbers:
        raise _unexpected(f"the file {file}, which is not a chunk of its blocks", source)
    place.parent.mkdir(parents=True, exist_ok=True)
    (source / file).replace(place)


def owner_of(file: str, survey: BlockSurvey) -> int | None:
    """The block to which a chunk of a store belongs, by its name; None for any other file."""
    named = _CHUNK.fullmatch(file)
    if named is None:
        return None
    sizes = chunk_shape(survey.shape_zyx)
    first = [int(place) * size for place, size in zip(named.groups(), sizes, strict=True)]
    return survey.grid.number_at((first[0], first[1], first[2]))


def _files(store: Path) -> Iterator[str]:
    """All files of `store`, by their names in it."""
    for parent, _, files in os.walk(store):
        yield from (Path(parent, name).relative_to(store).as_posix() for name in files)


def _unexpected(what: str, place: Path) -> CapillaryError:
    return CapillaryError(
        f"a job of this prediction left {what}",
        file=place,
        remedy="this is a defect; report it, and repeat the command",
        code=ExitCode.UNEXPECTED,
    )
