"""What is doubtful about a label where one of the two files does not say where it is in the world, such as a TIFF.

Its array is taken as it is; a header that speaks against that is shown.
"""

from collections.abc import Iterator

import numpy as np

from stages.common.imaging.formats.geometry import Geometry
from stages.common.imaging.formats.header import StackHeader
from stages.common.imaging.spacing import other_spacing, show, spacing_of
from stages.common.imaging.zyx import Spacing

_SHIFT = 0.501  # voxels
_TAKEN = "the label is taken voxel by voxel"
# what programs write over an array that they leave as it is: RAS and LPS, by the signs of x, y and z
_HABITS = ((1, 1, 1), (-1, -1, 1))


def doubts_about(label: StackHeader, image: StackHeader, geometry: Geometry | None) -> Iterator[str]:
    """Of the label's header and its `geometry`, None if it has none, against the image's header."""
    own, other = spacing_of(label), spacing_of(image)
    is_sure = not (label.spacing.remarks or image.spacing.remarks)
    if own.spacing_um and other.spacing_um and is_sure and other_spacing(own.spacing_um, other.spacing_um):
        said = f"{show(own.spacing_um)} µm ({own.source}), the image's {show(other.spacing_um)} µm ({other.source})"
        yield f"the label's header says {said}; {_TAKEN}"
    turned = _reversed_axes(geometry)
    if turned:
        yield f"the label's header has {turned} reversed, and the image does not say where it is; {_TAKEN}"
    if label.start_um and image.start_um and other.spacing_um and _is_shifted(label, image, other.spacing_um):
        places = f"{show(label.start_um)} µm, the image's at {show(image.start_um)} µm (OME-Zarr translation)"
        yield f"the label's first voxel is at {places}; {_TAKEN}"
    if label.orientation != image.orientation:
        told = f"{label.orientation}, the image's {image.orientation}"
        yield f"the label's TIFF Orientation is {told}: one of them may be mirrored; {_TAKEN}"
    if label.slice_numbers and image.slice_numbers and label.slice_numbers != image.slice_numbers:
        named = f"{_numbered(label.slice_numbers)}, the image's {_numbered(image.slice_numbers)}"
        yield f"the files of the label's slices are numbered {named}; they are paired in their order"


def doubt_of_order(label: Geometry, image: Geometry | None) -> str:
    """A remark on a NIfTI label whose header is a program's default, next to an image of another kind: where its first
    and last axis are of one size, an array that was saved with z first fits, and is turned. "" without such a doubt.
    """
    is_mute = label.is_default and not label.has_spacing and len(label.shape) == 3
    is_alike = image is not None and image.is_default and not image.has_spacing
    if not is_mute or is_alike or label.shape[0] != label.shape[2]:
        return ""
    said = "the label's header is a default (1 × 1 × 1 from the origin); its array is taken as x, y, z"
    return f"{said}, and would fit as z, y, x as well"


def _is_shifted(label: StackHeader, image: StackHeader, spacing_um: Spacing) -> bool:
    """By more than half a voxel: programs differ in whether a coarser level begins at a voxel's edge or its middle."""
    axes = zip(label.start_um or (), image.start_um or (), spacing_um, strict=True)
    return any(abs(one - other) > _SHIFT * step for one, other, step in axes)


def _numbered(first_and_step: tuple[int, int]) -> str:
    first, step = first_and_step
    return f"from {first} in steps of {step}"


def _reversed_axes(geometry: Geometry | None) -> str:
    """The axes of the world along which the array of `geometry` runs backwards; "" where that is a habit."""
    if geometry is None or geometry.affine is None or geometry.is_default:
        return ""
    axes_zyx = geometry.array_axes_zyx
    signs_xyz = [int(np.sign(geometry.affine[world, axes_zyx[2 - world]])) for world in range(3)]
    if tuple(signs_xyz) in _HABITS:
        return ""
    return ", ".join(name for name, sign in zip("xyz", signs_xyz, strict=True) if sign < 0)
