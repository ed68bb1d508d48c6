"""Which stacks the words on the command line mean: files, patterns, folders and tables."""

import glob
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from capillary.prediction.names import usage
from capillary.prediction.stack_table import read_stack_table
from stages.common.errors import DataError
from stages.common.imaging.suffixes import SUFFIXES, is_pattern, suffix_of
from stages.common.imaging.zyx import PartialSpacing

TABLE_SUFFIX = ".csv"


@dataclass(frozen=True, kw_only=True)
class InputStack:
    """A stack, and the spacing (z, y, x; µm) that a table gives it, None where the file's own counts."""

    image: Path
    spacing_um: PartialSpacing | None = None


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """The stacks and the target of one command. `is_many`: the target is a folder."""

    stacks: tuple[InputStack, ...]
    target: Path
    is_many: bool


def read_inputs(words: Sequence[str], root: Path) -> Inputs:
    """What `words` mean, the last of which is the target; `root` is the project, whose DVC cache links may lead to.

    Raises CapillaryError for a pattern, folder or table without a stack, and for a target that does not suit.
    """
    if len(words) < 2:
        raise usage("predict needs a stack and a place for its mask", "write capillary predict IN OUT, or IN… FOLDER")
    if "" in words:
        raise usage("one of the words is empty", "check that the variables in your command are set")
    *asked, last = words
    target = Path(last)
    one = Path(asked[0])
    is_one = _names_one(one) or (suffix_of(target.name) is not None and _may_be_slices(one))
    if len(asked) == 1 and is_one and not _names_folder(last):
        return Inputs(stacks=(InputStack(image=one),), target=target, is_many=False)
    if suffix_of(target.name) is not None or target.is_file():
        slices = "for slices of one stack, name their folder or a pattern in quotes"
        remedy = f"name a folder last; it is made if missing ({slices})"
        raise usage("several stacks need a folder for their masks", remedy, target)
    stacks = [stack for word in asked for stack in _expand(word, target, root)]
    return Inputs(stacks=_once(stacks), target=target, is_many=True)


def _names_one(path: Path) -> bool:
    """Whether a word means this one stack, be it there or not."""
    if path.is_dir() or path.suffix.lower() == TABLE_SUFFIX:
        return suffix_of(path.name) is not None
    return path.exists() or not glob.has_magic(str(path))


def _may_be_slices(path: Path) -> bool:
    """Whether a word can mean one stack, if only one mask is asked for: a folder, or files in it by a pattern."""
    return path.is_dir() or (is_pattern(path.name) and path.parent.is_dir())


def _names_folder(word: str) -> bool:
    return word.endswith("/") or (Path(word).is_dir() and suffix_of(Path(word).name) is None)


def _expand(word: str, target: Path, root: Path) -> Iterable[InputStack]:
    path = Path(word)
    if _names_one(path):
        return [InputStack(image=path)]
    if path.suffix.lower() == TABLE_SUFFIX:
        rows = read_stack_table(path, root)
        return [InputStack(image=row.image, spacing_um=row.spacing_um) for row in rows]
    if path.is_dir():
        return _of_folder(path)
    return _of_pattern(word, target)


def _of_folder(folder: Path) -> Iterable[InputStack]:
    found = _stacks(sorted(folder.iterdir()))
    if not found:
        table = folder / "dataset.csv"
        hint = f"name its table: {table}" if table.is_file() else f"for those in its folders: '{folder}/**/*.tif'"
        raise DataError("the folder holds no stack", file=folder, remedy=hint)
    return found


def _of_pattern(pattern: str, target: Path) -> Iterable[InputStack]:
    matches = sorted(map(Path, glob.glob(pattern, recursive=True)))  # noqa: PTH207 - absolute patterns, too
    made = os.path.realpath(target)  # Path.resolve raises for a link that leads to itself
    # what is in the target was made by a previous run, unless nothing else is meant
    others = (path for path in matches if Path(made) not in Path(os.path.realpath(path)).parents)
    found = _stacks(others) or _stacks(matches)
    if not found:
        raise DataError(
            "no file name matches this pattern",
            value=pattern,
            remedy=f"correct the pattern; the names of stacks end in {', '.join(SUFFIXES)}",
        )
    return found


def _stacks(paths: Iterable[Path]) -> list[InputStack]:
    """Those of `paths` that are stacks by their names."""
    return [
        InputStack(image=path) for path in paths if suffix_of(path.name) is not None and not path.name.startswith(".")
    ]


def _once(stacks: Sequence[InputStack]) -> tuple[InputStack, ...]:
    """Each file once, however often it is named: a folder and a pattern may both mean it."""
    return tuple({stack.image.absolute(): stack for stack in reversed(stacks)}.values())[::-1]
