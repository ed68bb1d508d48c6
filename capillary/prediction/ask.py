"""From the words and options of `capillary predict` to the request."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from capillary.prediction.inputs import Inputs, InputStack, read_inputs
from capillary.prediction.names import parse_blocks, parse_spacing, stack_request, stem_of, usage
from stages.common.errors import CapillaryError, DataError
from stages.common.imaging.suffixes import (
    SUFFIXES,
    WRITTEN_SUFFIXES,
    ZARR_SUFFIXES,
    is_pattern,
    split_inside,
    suffix_of,
)
from stages.common.requests.prediction.request import PredictRequest, StackRequest

SLICES_MASK = ".tif"  # of slices in a folder, among several stacks


def make_request(
    words: Sequence[str],
    root: Path,
    *,
    suffix: str | None,
    blocks: str | None,
    spacing_um: str | None,
    probability: bool,
    picture: bool,
    **options: Any,
) -> PredictRequest:
    """What the command line asks for; `options` are fields of PredictRequest.

    Raises CapillaryError for words and options that do not suit each other, and for two stacks whose files would have
    the same name.
    """
    inputs = read_inputs(words, root)
    given_um = parse_spacing(spacing_um)
    if not inputs.is_many and (suffix is not None or options.get("resume")):
        raise usage("--suffix and --resume only apply to several stacks", "name a folder as the last argument")
    if suffix is not None and suffix not in WRITTEN_SUFFIXES:
        known = ", ".join(WRITTEN_SUFFIXES)
        raise usage("masks cannot be written in the format that --suffix names", f"choose one of {known}", value=suffix)
    work = parse_blocks(blocks)
    if work is not None and (inputs.is_many or suffix_of(inputs.target.name) not in ZARR_SUFFIXES):
        raise usage("--blocks is for one stack with a mask in OME-Zarr", "name the mask, such as seg.ome.zarr")
    stacks = tuple(
        stack_request(
            found.image,
            _mask(found, inputs, suffix),
            probability=probability,
            picture=picture,
            spacing_um=given_um or found.spacing_um,
        )
        for found in inputs.stacks
    )
    if not inputs.is_many:
        return PredictRequest(stacks=stacks, blocks=work, **options)
    refuse_same_names(stacks)
    return PredictRequest(stacks=stacks, folder=inputs.target, **options)


def _mask(found: InputStack, inputs: Inputs, suffix: str | None) -> Path:
    if not inputs.is_many:
        return inputs.target
    image = found.image
    if _is_slices(image):  # which are called like their folder
        return inputs.target / f"{(image if image.is_dir() else image.absolute().parent).name}{suffix or SLICES_MASK}"
    kind = suffix_of(str(image))
    if kind is None:
        if not image.exists():
            raise DataError("the stack or folder does not exist", file=image, remedy="correct its name")
        raise usage("the file name is not that of a stack", f"name it as one of {', '.join(SUFFIXES)}", image)
    if suffix is None and kind not in WRITTEN_SUFFIXES:
        known = ", ".join(WRITTEN_SUFFIXES)
        raise usage(f"masks cannot be written as {kind}", f"choose a --suffix for all masks: {known}", image)
    stem = stem_of(image)
    own = split_inside(str(image))[0][-len(kind) :]  # in the letters of the stack's name: .TIF
    return inputs.target / f"{stem}{suffix or own}"


def _is_slices(image: Path) -> bool:
    """Whether a table names a folder of slices, or those that a pattern stands for."""
    if image.is_dir():
        return suffix_of(image.name) is None
    return is_pattern(image.name) and not image.exists()


def refuse_same_names(stacks: Sequence[StackRequest]) -> None:
    """Raise CapillaryError if two stacks would have a file of the same name, also on a disk that ignores case."""
    owners: dict[str, StackRequest] = {}
    for stack in stacks:
        for file in stack.files:
            other = owners.setdefault(file.name.casefold(), stack)
            if other is not stack:
                raise _same_name(other, stack, file)


def _same_name(one: StackRequest, other: StackRequest, file: Path) -> CapillaryError:
    return usage(
        f"two stacks would write the same output {file.name}",
        "predict them into different folders, or rename one",
        value=f"{one.image}, {other.image}",
    )
