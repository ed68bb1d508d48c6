"""What the voxels of a volume must be: rules on an image, on its label, and on the two together."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.common.errors import DataError
from stages.common.imaging.stacks import binarise, read_stack

_MAX_FOREGROUND = 0.5  # vessels fill less than half of any tissue


@dataclass(frozen=True, kw_only=True)
class ImageFacts:
    """What is kept of an image after its voxels are released."""

    shape_zyx: tuple[int, int, int]
    dtype: str


@dataclass(frozen=True, kw_only=True)
class LabelFacts:
    """What is kept of a label. `foreground_value` is the value in the file that means vessel."""

    foreground_value: float
    foreground_share: float
    warnings: tuple[str, ...]


def check_image(path: Path) -> ImageFacts:
    """Raises DataError when the image is unreadable, of an unusable dtype, not finite or constant."""
    image_zyx = read_stack(path)
    _check_dtype(image_zyx)
    _check_finite(image_zyx)
    low = image_zyx.min()
    if low == image_zyx.max():
        raise _refused(f"every voxel is {low:g}, the image shows nothing")
    return ImageFacts(shape_zyx=_shape(image_zyx), dtype=str(image_zyx.dtype))


def check_label(path: Path, shape_zyx: tuple[int, int, int] | None) -> LabelFacts:
    """Raises DataError when the label is unreadable, of another shape than its image (if that is known), or does not
    hold two values.
    """
    label_zyx = read_stack(path)
    _check_dtype(label_zyx)
    if shape_zyx is not None and label_zyx.shape != shape_zyx:
        raise _refused(f"its shape {_show(label_zyx.shape)} is not the image's {_show(shape_zyx)}")
    _check_finite(label_zyx)
    low, high = label_zyx.min(), label_zyx.max()
    if low == high:
        raise _refused("it is empty, no voxel is labelled" if low == 0 else f"it is full, every voxel is {low:g}")
    share = float(binarise(label_zyx).mean())
    warnings = []
    if low not in (0, -1):
        warnings.append(f"the label's values are {low:g} and {high:g}; {high:g} is taken as vessel")
    if share > _MAX_FOREGROUND:
        warnings.append(f"{share:.0%} of the voxels are labelled as vessel; is the label inverted?")
    return LabelFacts(foreground_value=float(high), foreground_share=share, warnings=tuple(warnings))


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
