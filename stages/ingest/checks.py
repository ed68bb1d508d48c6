"""What the voxels of a volume must be: rules on an image, on its label, and on the two together."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.common.errors import DataError
from stages.common.imaging.labels.meaning import Label, as_numbers, ignored_voxels, interpret
from stages.common.imaging.labels.rule import BINARY, LabelMeaning, Number, exact_number
from stages.common.imaging.stacks import read_stack
from stages.ingest.image_doubts import doubts_about
from stages.ingest.labels.fit import ImageSample, doubt_of_fit, sample_of
from stages.ingest.labels.gaps import doubt_of_gaps
from stages.ingest.labels.named import Named, check_named
from stages.ingest.labels.values import check_values, lone_value, occurring

_MAX_FOREGROUND = 0.5  # vessels fill less than half of any tissue


@dataclass(frozen=True, kw_only=True)
class ImageFacts:
    """What is kept of an image after its voxels are released, and what is doubtful about these. `sample` is for the
    check of its label.
    """

    shape_zyx: tuple[int, int, int]
    dtype: str
    warnings: tuple[str, ...] = ()
    sample: ImageSample | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, kw_only=True)
class LabelFacts:
    """What is kept of a label. `foreground_value` is the value in the file that means vessel, None if several do.

    `foreground_share` is of the labelled voxels. `occurring` are the values that the settings name and the label holds.
    """

    foreground_value: Number | None
    foreground_share: float
    labelled_share: float
    occurring: frozenset[Number]
    warnings: tuple[str, ...]


def check_image(path: Path) -> ImageFacts:
    """Raises DataError when the image is unreadable, of an unusable dtype, not finite or constant."""
    image_zyx = read_stack(path)
    _check_dtype(image_zyx)
    _check_finite(image_zyx)
    low, high = image_zyx.min(), image_zyx.max()
    if low == high:
        raise _refused(f"every voxel is {low:g}: the image is empty")
    is_mask = bool(np.logical_or(image_zyx == low, image_zyx == high).all())
    sample = sample_of(image_zyx)
    doubt = f"the image's voxels are {low:g} and {high:g} alone, as those of a label; is it one?"
    warnings = (doubt,) if is_mask else tuple(doubts_about(image_zyx, sample.contrast_z))
    return ImageFacts(shape_zyx=_shape(image_zyx), dtype=str(image_zyx.dtype), warnings=warnings, sample=sample)


def check_label(
    path: Path,
    shape_zyx: tuple[int, int, int] | None,
    meaning: LabelMeaning = BINARY,
    named: Named = MappingProxyType({}),
    sample: ImageSample | None = None,
) -> LabelFacts:
    """Raises DataError when the label is unreadable, of another shape than its image (if that is known), does not hold
    what `meaning` says of it, or has no vessel or no background among its labelled voxels.

    `named` is what the set itself calls the values; it is refused where `meaning` contradicts it. `sample` is of the
    image; a label that does not fit it is doubtful.
    """
    label_zyx = as_numbers(read_stack(path))
    _check_dtype(label_zyx)
    if shape_zyx is not None and label_zyx.shape != shape_zyx:
        raise _refused(_other_shape(label_zyx.shape, shape_zyx))
    _check_finite(label_zyx)
    low, high = label_zyx.min(), label_zyx.max()
    if low == high and low != meaning.ignore_value:
        raise _refused("it is empty: no voxel is labelled" if low == 0 else f"it is full: every voxel is {low:g}")
    check_named(label_zyx, meaning, named)
    check_values(label_zyx, meaning)
    _check_both_kinds(label_zyx, meaning)
    label = interpret(label_zyx, meaning)
    vessel_values = label_zyx[label.vessel.view(np.bool_)]
    one_value = vessel_values.min() == vessel_values.max()
    return LabelFacts(
        foreground_value=exact_number(vessel_values[0].item()) if one_value else None,
        foreground_share=label.foreground_share,
        labelled_share=label.labelled_share,
        occurring=occurring(label_zyx, meaning),
        warnings=tuple(_warnings(label_zyx, label, meaning, sample)),
    )


def _other_shape(label: tuple[int, ...], image: tuple[int, int, int]) -> str:
    what = f"its shape {_show(label)} is not the image's {_show(image)}"
    if label[1:] == image[1:] and label[0] < image[0]:
        what += "; if the other slices are not labelled, fill them with the value of ingest.ignore_value"
    elif sorted(label) == sorted(image):
        what += "; its axes seem to be exchanged: save it as z, y, x"
    return what


def _check_both_kinds(label_zyx: NDArray[Any], meaning: LabelMeaning) -> None:
    if meaning == BINARY:
        return  # two values are two kinds
    label = label_zyx if (ignored := ignored_voxels(label_zyx, meaning)) is None else label_zyx[~ignored]
    if label.min() == label.max() and meaning.rule.kind == "binary":
        raise _refused(f"its labelled voxels all have the value {label.min():g}")
    share = float(interpret(label, LabelMeaning(rule=meaning.rule)).vessel.mean())
    if share == 0:
        raise _refused("it is empty: by ingest.label no labelled voxel is vessel")
    if share == 1:
        raise _refused("it is full: by ingest.label every labelled voxel is vessel")


def _warnings(
    label_zyx: NDArray[Any], label: Label, meaning: LabelMeaning, sample: ImageSample | None
) -> Iterator[str]:
    if meaning.rule.kind == "binary":
        values = label_zyx if label.labelled is None else label_zyx[label.labelled]
        low, high = values.min(), values.max()
        if low not in (0, -1):
            yield f"the label's values are {low:g} and {high:g}; {high:g} is taken as vessel"
    if meaning.rule.kind == "foreground" and (lone := lone_value(label_zyx[label.vessel.view(np.bool_)])) is not None:
        yield f"{lone:g} is taken as vessel; set ingest.ignore_value: {lone:g} if nobody labelled its voxels"
    if label.foreground_share > _MAX_FOREGROUND:
        yield f"{label.foreground_share:.0%} of the voxels are labelled as vessel; is the label inverted?"
    if sample is not None and (doubt := doubt_of_fit(sample, label.vessel, label.labelled)):
        yield doubt
    if sample is not None and label.labelled is None and (doubt := doubt_of_gaps(label.vessel, sample.contrast_z)):
        yield doubt


def _check_dtype(stack: NDArray[Any]) -> None:
    if stack.dtype.kind not in "biuf" or stack.dtype.itemsize > 8:
        raise _refused(
            f"its voxels are {stack.dtype}, which is not supported; save them as 8-bit or 16-bit grey values"
        )


def _check_finite(stack: NDArray[Any]) -> None:
    if stack.dtype.kind != "f":
        return
    wrong = int(stack.size - np.count_nonzero(np.isfinite(stack)))
    if wrong:
        raise _refused(f"{wrong} voxels are NaN or infinite")


def _refused(what: str) -> DataError:
    return DataError(what, remedy="correct the file")


def _shape(stack: NDArray[Any]) -> tuple[int, int, int]:
    z, y, x = stack.shape
    return z, y, x


def _show(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape))
