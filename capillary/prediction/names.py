"""The names of the files of a prediction, and what the options on the command line mean."""

from collections.abc import Iterator
from pathlib import Path

from stages.common.errors import CapillaryError, UsageError
from stages.common.imaging.suffixes import split_inside, suffix_of
from stages.common.imaging.zyx import PartialSpacing, Spacing
from stages.common.requests.prediction.request import BlockWork, StackRequest


def stem_of(file: Path) -> str:
    """The name without its whole suffix: `a.b` of a.b.nii.gz, and of a.b.h5:/place."""
    name = Path(split_inside(str(file))[0]).name
    return name[: len(name) - len(suffix_of(name) or "")]


def stack_request(
    image: Path, mask: Path, *, probability: bool, picture: bool, spacing_um: PartialSpacing | None
) -> StackRequest:
    """The files for `mask`: seg.nii.gz has its probability in seg_probability.nii.gz and its picture in seg.png."""
    stem = stem_of(mask)
    return StackRequest(
        image=image,
        mask=mask,
        probability=mask.with_name(f"{stem}_probability{mask.name[len(stem) :]}") if probability else None,
        picture=mask.with_name(f"{stem}.png") if picture else None,
        spacing_um=spacing_um,
    )


def parse_spacing(text: str | None) -> Spacing | None:
    """`5,0.994,0.994` as (z, y, x) in µm. Raises CapillaryError (usage) for anything else."""
    if text is None:
        return None
    numbers = list(_numbers(text))
    if len(numbers) != 3 or not all(0 < number < float("inf") for number in numbers):
        raise usage(f"--spacing-um is not three lengths above 0: {text}", "write Z,Y,X in µm, such as 5,0.994,0.994")
    return numbers[0], numbers[1], numbers[2]


def parse_blocks(text: str | None) -> BlockWork | None:
    """`auto`, or the size of a block in voxels such as `64,512,512` (z, y, x): the first step of the work by blocks.

    Raises CapillaryError (usage) for anything else.
    """
    if text is None:
        return None
    if text == "auto":
        return BlockWork(step="survey")
    sizes = [int(part) if part.strip().isdecimal() else 0 for part in text.split(",")]
    if len(sizes) != 3 or not all(0 < size < 2**31 for size in sizes):
        raise usage(f"--blocks is not a size of blocks: {text}", "write auto, or Z,Y,X in voxels, such as 64,512,512")
    return BlockWork(step="survey", wanted_zyx=(sizes[0], sizes[1], sizes[2]))


def _numbers(text: str) -> Iterator[float]:
    for part in text.split(","):
        try:
            yield float(part)
        except ValueError:
            yield float("nan")


def usage(what: str, remedy: str, file: Path | None = None, value: object | None = None) -> CapillaryError:
    """An error of the command line."""
    return UsageError(what, remedy=remedy, file=file, value=value)
