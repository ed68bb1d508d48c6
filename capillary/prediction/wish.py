"""What a user asks `capillary predict` for, checked before anything starts."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stages.common.errors import CapillaryError, DataError, ExitCode
from stages.common.imaging.suffixes import SUFFIXES, suffix_of

Spacing = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class Wish:
    """One stack to segment and what with.

    `model` is a reference to the registry; else the cards of `loss` (None: the only one there is) and of `folds` (none:
    all of them) count. `threshold` and `min_component_um3` win over params.yaml where they are given.
    """

    image: Path
    mask: Path
    model: str | None
    loss: str | None
    folds: tuple[int, ...]
    threshold: float | None
    min_component_um3: float | None
    spacing_um: Spacing | None
    probability: bool
    picture: bool
    force: bool

    @property
    def probability_file(self) -> Path | None:
        """seg.nii.gz has its probability in seg_probability.nii.gz."""
        suffix = self.mask.name[len(_stem(self.mask)) :]
        return self.mask.with_name(f"{_stem(self.mask)}_probability{suffix}") if self.probability else None

    @property
    def picture_file(self) -> Path | None:
        """seg.nii.gz has its picture in seg.png."""
        return self.mask.with_name(f"{_stem(self.mask)}.png") if self.picture else None

    @property
    def files(self) -> tuple[Path, ...]:
        """Everything that is to be written."""
        every = (self.mask, self.probability_file, self.picture_file)
        return tuple(file for file in every if file is not None)


def _stem(file: Path) -> str:
    return file.name.removesuffix(file.name[-len(suffix_of(file.name) or "") :])


def check_wish(wish: Wish) -> None:
    """Raise CapillaryError for a file that is missing, cannot be read or written, or would be lost."""
    if wish.model is not None and (wish.loss is not None or wish.folds):
        raise _usage("--model names the model, --loss and --fold choose among the cards in models/", "give one of them")
    if not wish.image.is_file():
        raise DataError("the stack does not exist", file=wish.image, remedy="correct its name or copy it there")
    for file in (wish.image, wish.mask):
        if suffix_of(file.name) is None:
            raise _usage(
                "a file is neither TIFF nor NIfTI by its name", f"name it as one of {', '.join(SUFFIXES)}", file
            )
    for file in wish.files:
        _check_target(file, wish)


def _check_target(file: Path, wish: Wish) -> None:
    if file.is_dir():
        raise _usage("this is a folder, not a file", "name the file itself, such as seg.tif", file)
    if file.exists() and file.samefile(wish.image):
        raise _usage("the mask would replace the stack", "name another file", file)
    if file.exists() and not wish.force:
        raise _usage("the file exists already", "name another one, or replace it with --force", file)
    above = next(folder for folder in file.absolute().parents if folder.exists())
    if not os.access(above, os.W_OK):
        raise CapillaryError(
            "nothing can be written here",
            file=above,
            remedy="name another folder, or change its permissions",
            code=ExitCode.MACHINE,
        )


def parse_spacing(text: str | None) -> Spacing | None:
    """`5,0.994,0.994` as (z, y, x) in µm. Raises CapillaryError (usage) for anything else."""
    if text is None:
        return None
    numbers = list(_numbers(text))
    if len(numbers) != 3 or not all(0 < number < float("inf") for number in numbers):
        raise _usage(f"--spacing-um is not three lengths above 0: {text}", "write Z,Y,X in µm, such as 5,0.994,0.994")
    return numbers[0], numbers[1], numbers[2]


def _numbers(text: str) -> Iterator[float]:
    for part in text.split(","):
        try:
            yield float(part)
        except ValueError:
            yield float("nan")


def _usage(what: str, remedy: str, file: Path | None = None) -> CapillaryError:
    return CapillaryError(what, remedy=remedy, file=file, code=ExitCode.USAGE)
