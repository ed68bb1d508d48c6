"""Whether a label lies on its image in the world, by the headers of two NIfTI files, and in which order its voxels are.

Two writers' habits look like a disagreement: NIfTI's x and y point right and forward (RAS), those of DICOM and ITK left
and back (LPS). Where a program writes numbers of one kind into a file of the other, x and y change their sign, and the
array stays the same.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import nibabel
import numpy as np
from numpy.typing import NDArray

from stages.common.imaging.formats.geometry import Geometry, length_ratio
from stages.common.imaging.formats.nifti.stack import open_nifti

Rule = Literal["world", "voxels"]

HABIT = (
    "x and y have opposite signs in the headers of image and label: one program counts them LPS, the other RAS; "
    "the arrays are in the same order and are taken as they are"
)
SETTING = "ingest.label_geometry: voxels"
_TURN = 0.02  # how far a step along one axis may be off a step of the image, in its voxels
_SHIFT = 0.501  # voxels: with the corner of a voxel for its centre, or rounded
_EDGE = 0.1  # voxels: how far a cropped label may be off the image's grid
_CROPPED = (
    "it covers a part of the image alone, as 3D Slicer crops a segmentation when it saves it: export it as a label "
    "map, with the image as the reference volume"
)
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_MAX_NIFTI_1_AXIS = 2**15 - 1  # its sizes have 16 bits


@dataclass(frozen=True, kw_only=True)
class AxisOrder:
    """How a label's array becomes one in the image's order: axis i is axis `axes[i]` of the label, flipped or not."""

    axes: tuple[int, ...] = (0, 1, 2)
    flipped: tuple[bool, ...] = (False, False, False)

    @property
    def is_same(self) -> bool:
        """Whether the label's array is in the image's order already."""
        return self == AxisOrder()

    def apply(self, label: NDArray[Any]) -> NDArray[Any]:
        """The label in the image's order."""
        steps = tuple(slice(None, None, -1 if flip else 1) for flip in self.flipped)
        return label.transpose(self.axes)[steps]

    def text(self, image: Geometry) -> str:
        """What is done to the label, in the axes of `image`."""
        names = ("zyx"[image.array_axes_zyx.index(axis)] for axis in range(3))
        turned = ", ".join(name for name, flip in zip(names, self.flipped, strict=True) if flip)
        moved = "axes exchanged" if self.axes != (0, 1, 2) else ""
        return " and ".join(each for each in (moved, f"{turned} reversed" if turned else "") if each)


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """The order in which a label lies on its image; or `reason`, why it does not. `is_habit`: see HABIT."""

    order: AxisOrder = AxisOrder()
    is_habit: bool = False
    reason: str = ""


def compare(image: Geometry, label: Geometry, rule: Rule) -> Agreement:
    """How `label` lies on `image`. By the rule "voxels", or where a header has no geometry, as the arrays are."""
    if rule == "voxels" or image.affine is None or label.affine is None:
        return Agreement()
    if len(image.shape) != 3 or sorted(image.shape) != sorted(label.shape):
        return Agreement(reason=_CROPPED if _is_cropped(image, label) else "")  # else refused for its shape
    for is_habit in (False, True):
        for affine in _affines_of(label, image):
            between = np.linalg.inv(image.affine) @ (_LPS_TO_RAS @ affine if is_habit else affine)
            order = _order_of(between, image.shape, label.shape)
            if order is not None and (order.is_same or not is_habit):
                return Agreement(order=order, is_habit=is_habit)
    if _is_mute(image, label) or image.has_spacing != label.has_spacing:
        return Agreement()
    return Agreement(reason=_words(image, label))


def _is_cropped(image: Geometry, label: Geometry) -> bool:
    """Whether `label` is a smaller box of the image's grid, in the same order."""
    if len(label.shape) != 3 or image.affine is None:
        return False
    for affine in _affines_of(label, image):
        between = np.linalg.inv(image.affine) @ affine
        start, end = between[:3, 3], between[:3, 3] + label.shape
        is_aligned = np.abs(between[:3, :3] - np.eye(3)).max() <= _TURN and np.abs(start - start.round()).max() <= _EDGE
        if is_aligned and start.min() >= -_EDGE and (end <= np.array(image.shape) + _EDGE).all():
            return True
    return False


def _is_mute(image: Geometry, label: Geometry) -> bool:
    """Whether one of them is what programs write that know nothing. 1 × 1 × 1 µm in both is what both know."""
    are_alike = image.has_spacing and label.has_spacing and image.steps == label.steps
    return (image.is_default or label.is_default) and not are_alike


def _affines_of(label: Geometry, image: Geometry) -> Iterator[NDArray[np.float64]]:
    """The label's affine as its numbers are, and in the image's unit of length where that is another one."""
    assert label.affine is not None
    yield label.affine
    ratio = length_ratio(label, image)
    if ratio != 1:
        yield np.diag([ratio, ratio, ratio, 1.0]) @ label.affine


def _order_of(
    between: NDArray[np.float64], image_shape: tuple[int, ...], label_shape: tuple[int, ...]
) -> AxisOrder | None:
    """The order in which the voxels coincide, if they do; `between` maps the label's indices to the image's."""
    turns = between[:3, :3]
    axes = tuple(int(axis) for axis in np.abs(turns).argmax(axis=1))
    if sorted(axes) != [0, 1, 2] or tuple(label_shape[axis] for axis in axes) != image_shape:
        return None
    flipped = tuple(bool(turns[i, axis] < 0) for i, axis in enumerate(axes))
    expected = np.zeros((3, 3))
    expected[range(3), axes] = np.where(flipped, -1.0, 1.0)
    if np.abs(turns - expected).max() > _TURN:
        return None
    starts = np.where(flipped, np.array(image_shape) - 1.0, 0.0)
    # rounded steps add up: it is enough that the two agree at the first voxel of one of them, or in the middle
    for voxel in (np.zeros(3), expected.T @ -starts, (np.array(label_shape) - 1) / 2):
        if np.abs(turns @ voxel + between[:3, 3] - (expected @ voxel + starts)).max() <= _SHIFT:
            return AxisOrder(axes=axes, flipped=flipped)
    return None


def _words(image: Geometry, label: Geometry) -> str:
    steps = np.array([image.steps, label.steps], dtype=np.float64)
    is_scaled = all(
        (np.abs(steps[0] - ratio * steps[1]) > _TURN * steps[0]).any() for ratio in (1.0, length_ratio(label, image))
    )
    what = "another spacing than the image" if is_scaled else "another place than the image"
    return f"{what}: {label.text}; image {image.text}; set {SETTING} to ignore it"


def must_rewrite(image: Geometry, label: Geometry, order: AxisOrder) -> bool:
    """Whether the label's own header would have its array read in another order than the image's."""
    return not order.is_same or (image.shape == label.shape and image.array_axes_zyx != label.array_axes_zyx)


def write_in_order(label: Path, image: Path, order: AxisOrder) -> None:
    """Write `label` again, in the order of `image` and with its header."""
    voxels = order.apply(open_nifti(label).file_order())
    if voxels.dtype == np.bool_:
        voxels = voxels.astype(np.uint8)
    header: Any = open_nifti(image).image.header.copy()
    kind: Any = nibabel.Nifti2Image if max(voxels.shape) > _MAX_NIFTI_1_AXIS else nibabel.Nifti1Image
    written = kind(voxels, None, kind.header_class.from_header(header))
    written.header.set_data_dtype(voxels.dtype)
    written.header.set_slope_inter(1, 0)
    # a new file in its place: the previous may have other names, which mean what came
    whole = label.with_name(f".{label.name}")
    nibabel.save(written, whole)
    whole.replace(label)
