"""Whether a label lies on its image in the world, and in which order its voxels are."""

import itertools
from typing import Any

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray

from stages.common.imaging.formats.geometry import Geometry, geometry_of
from stages.ingest.labels.grid import AxisOrder, compare, must_rewrite

SHAPE = (7, 6, 5)
STEPS = (1.1, 0.9, 5.0)
IMAGE = np.random.default_rng(3).random(SHAPE)
nifti: Any = nibabel.Nifti1Image


def affine_of(steps: tuple[float, ...] = STEPS, origin: tuple[float, ...] = (0.0, 0.0, 0.0)) -> NDArray[np.float64]:
    affine = np.diag([*steps, 1.0])
    affine[:3, 3] = origin
    return affine


def geometry(affine: NDArray[Any], shape: tuple[int, ...] = SHAPE, unit: str | None = "micron") -> Geometry:
    image = nifti(np.zeros(shape, np.uint8), affine)
    if unit:
        image.header.set_xyzt_units(unit)
    return geometry_of(image)


def stored_otherwise(affine: NDArray[Any], axes: tuple[int, ...], flipped: tuple[bool, ...]) -> Any:
    """IMAGE with its axes exchanged and reversed, in the same place of the world, by nibabel's own functions."""
    orientation = np.array([[axes.index(axis), -1 if flipped[axis] else 1] for axis in range(3)])
    return nifti(IMAGE, affine).as_reoriented(orientation)


OBLIQUE = np.array([[1.0, -0.2, 0.5, 3.0], [0.2, 0.9, 0.1, -4.0], [-0.1, 0.05, 5.0, 11.0], [0, 0, 0, 1]])


@pytest.mark.parametrize(
    "affine", [affine_of(), affine_of(origin=(3.0, -4.0, 10.0)), OBLIQUE], ids=["origin", "moved", "oblique"]
)
@pytest.mark.parametrize("axes", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("flipped", list(itertools.product((False, True), repeat=3)))
def test_the_same_grid_in_any_order_is_brought_back(
    affine: NDArray[Any], axes: tuple[int, ...], flipped: tuple[bool, ...]
) -> None:
    """Every exchange and reversal of axes: voxel by voxel the image's array."""
    label = stored_otherwise(affine, axes, flipped)
    image = geometry(affine)
    agreement = compare(image, geometry(label.affine, label.shape), "world")
    assert (agreement.reason, agreement.is_habit) == ("", False)
    np.testing.assert_array_equal(agreement.order.apply(np.asarray(label.dataobj)), IMAGE)
    assert agreement.order.is_same is (axes == (0, 1, 2) and not any(flipped))
    assert must_rewrite(image, geometry(label.affine, label.shape), agreement.order) is not agreement.order.is_same


@pytest.mark.parametrize("origin", [(0.0, 0.0, 0.0), (3.0, -4.0, 10.0)])
def test_two_habits_over_the_same_array_are_right_as_they_are(origin: tuple[float, ...]) -> None:
    """x and y of opposite sign, steps and origin alike: LPS numbers in a file that means RAS."""
    image = affine_of(origin=origin)
    for label in (np.diag([-1.0, -1, 1, 1]) @ image,):
        for pair in ((image, label), (label, image)):
            agreement = compare(geometry(pair[0]), geometry(pair[1]), "world")
            assert agreement.order.is_same
            assert agreement.is_habit
            assert agreement.reason == ""


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("voxels", [1, 5, -2, 0.6])
def test_a_shifted_label_does_not_lie_on_the_image(axis: int, voxels: float) -> None:
    """By a voxel or more, along any axis."""
    origin = [0.0, 0.0, 0.0]
    origin[axis] = voxels * STEPS[axis]
    reason = compare(geometry(affine_of()), geometry(affine_of(origin=tuple(origin))), "world").reason
    assert reason.startswith("another place than the image: from (")
    assert "; image from (0, 0, 0) by 1.1 × 0.9 × 5 µm RAS; set ingest.label_geometry: voxels" in reason


@pytest.mark.parametrize("signs", [(-1, 1, 1), (1, -1, 1), (1, 1, -1), (-1, -1, -1)])
def test_a_mirrored_label_in_another_place_does_not_lie_on_the_image(signs: tuple[int, ...]) -> None:
    """Reversed about the first voxel: the two meet in a plane and no more."""
    mirrored = affine_of(tuple(sign * step for sign, step in zip(signs, STEPS, strict=True)))
    assert "another place" in compare(geometry(affine_of()), geometry(mirrored), "world").reason


@pytest.mark.parametrize("factor", [2.0, 0.5, 1.05])
def test_another_spacing_is_not_the_image_s_grid(factor: float) -> None:
    """On one axis or on all of them."""
    for steps in (tuple(step * factor for step in STEPS), (STEPS[0], STEPS[1] * factor, STEPS[2])):
        reason = compare(geometry(affine_of()), geometry(affine_of(steps)), "world").reason
        assert reason.startswith("another spacing than the image: from (0, 0, 0) by ")


def test_rounded_numbers_are_the_same_grid() -> None:
    """Half a voxel of origin (its corner for its centre), a step that was cut to two digits, anywhere in the volume."""
    image = geometry(affine_of((0.994, 0.994, 5.0)), (512, 512, 5))
    for origin in ((0.0, 0.0, 0.0), (0.497, 0.497, 2.5), (-0.497, 0.0, 0.0)):
        assert compare(image, geometry(affine_of((0.994, 0.994, 5.0), origin), (512, 512, 5)), "world").reason == ""
    assert compare(image, geometry(affine_of((0.99, 0.99, 5.0)), (512, 512, 5)), "world").reason == ""
    centred = affine_of((0.99, 0.99, 5.0), (0.994 * 255.5 - 0.99 * 255.5,) * 2 + (0.0,))
    assert compare(image, geometry(centred, (512, 512, 5)), "world").reason == ""


def test_units_are_compared_too() -> None:
    """The same grid in mm, and µm under the name of mm."""
    image = geometry(affine_of(origin=(3.0, 4.0, 5.0)))
    in_mm = affine_of(tuple(step / 1e3 for step in STEPS), (0.003, 0.004, 0.005))
    assert compare(image, geometry(in_mm, unit="mm"), "world").reason == ""
    assert compare(image, geometry(affine_of(origin=(3.0, 4.0, 5.0)), unit="mm"), "world").reason == ""


def test_a_header_without_a_unit_may_be_in_mm() -> None:
    """ITK reads a NIfTI in µm as mm, and writes the label as MetaImage or NRRD, which name no unit."""
    in_um, in_mm = (
        affine_of(origin=(3.0, 4.0, 5.0)),
        np.diag([1e-3, 1e-3, 1e-3, 1.0]) @ affine_of(origin=(3.0, 4.0, 5.0)),
    )
    for pair in ((geometry(in_um), geometry(in_mm, unit=None)), (geometry(in_mm, unit=None), geometry(in_um))):
        assert compare(*pair, "world").reason == ""
    shifted = np.diag([1e-3, 1e-3, 1e-3, 1.0]) @ affine_of(origin=(3.0, 4.0, 15.0))
    assert "another place" in compare(geometry(in_um), geometry(shifted, unit=None), "world").reason


@pytest.mark.parametrize("default", [np.eye(4), np.diag([-1.0, -1, 1, 1])])
@pytest.mark.parametrize("unit", [None, "mm"])
def test_a_header_that_says_nothing_has_nothing_to_compare(default: NDArray[Any], unit: str | None) -> None:
    """The defaults of nibabel and SimpleITK, for the label or for the image: the arrays' own order counts."""
    known, unknown = geometry(affine_of(origin=(3.0, 4.0, 5.0))), geometry(default, unit=unit)
    for pair in ((known, unknown), (unknown, known)):
        agreement = compare(*pair, "world")
        assert (agreement.order.is_same, agreement.reason) == (True, "")


def test_a_micrometre_on_every_axis_is_a_spacing() -> None:
    """With its unit it is no default: a label that was moved away from such an image does not lie on it."""
    image, label = (geometry(affine_of((1.0, 1.0, 1.0), (0.0, 0.0, z))) for z in (0.0, 5.0))
    for pair in ((image, label), (label, image)):
        assert "another place" in compare(*pair, "world").reason
    copied = geometry(np.eye(4))  # the header of an image of another spacing, under nibabel's affine
    assert compare(geometry(affine_of(origin=(0.0, 0.0, 5.0))), copied, "world").reason == ""


def test_a_spacing_on_one_side_alone_is_no_contradiction() -> None:
    """1 × 1 × 1 without a unit is a default, wherever it starts."""
    label = geometry(affine_of((1.0, 1.0, 1.0), (10.0, 0.0, 0.0)), unit=None)
    assert compare(geometry(affine_of()), label, "world").reason == ""
    image = geometry(affine_of((1.0, 1.0, 1.0), (0.0, 20.0, 0.0)), unit=None)
    assert "another place" in compare(image, label, "world").reason


def test_the_rule_voxels_asks_no_header() -> None:
    """For people who know better."""
    agreement = compare(geometry(affine_of()), geometry(affine_of(origin=(0.0, 0.0, 25.0))), "voxels")
    assert (agreement.order.is_same, agreement.reason) == (True, "")


def test_another_shape_is_left_to_the_check_of_shapes() -> None:
    """Which says it better."""
    assert compare(geometry(affine_of()), geometry(affine_of(), (70, 60, 40)), "world").reason == ""


def test_an_order_in_words() -> None:
    """What is done, by the names that the axes of the image have in the world."""
    plain, z_first = geometry(affine_of()), geometry(affine_of()[[2, 1, 0, 3]])
    assert AxisOrder(flipped=(True, False, True)).text(plain) == "x, z reversed"
    assert AxisOrder(axes=(2, 1, 0)).text(plain) == "axes exchanged"
    assert AxisOrder(axes=(2, 1, 0), flipped=(True, False, False)).text(plain) == "axes exchanged and x reversed"
    assert AxisOrder(flipped=(True, False, False)).text(z_first) == "z reversed"


def test_a_label_whose_header_is_mute_follows_the_axes_of_the_image() -> None:
    """An image stored with z first and a label of the same array under a default header."""
    turned = np.array([[0, 0, 1.1, 0], [0, 0.9, 0, 0], [5.0, 0, 0, 0], [0, 0, 0, 1]])
    image, label = geometry(turned), geometry(np.eye(4), unit=None)
    agreement = compare(image, label, "world")
    assert agreement.order.is_same
    assert must_rewrite(image, label, agreement.order)
    assert not must_rewrite(image, geometry(np.eye(4), SHAPE[::-1], unit=None), agreement.order)


@pytest.mark.parametrize("affine", [affine_of(), affine_of(origin=(3.0, -4.0, 10.0)), OBLIQUE])
@pytest.mark.parametrize(
    ("start", "shape", "says"),
    [
        ((0, 0, 0), (7, 6, 4), "covers a part of the image"),
        ((2, 1, 0), (5, 4, 5), "covers a part of the image"),
        ((2, 1, 0), (6, 4, 5), ""),  # out of the image
        ((0, -1, 0), (7, 5, 5), ""),
        ((0.4, 0, 0), (5, 6, 5), ""),  # between its voxels
    ],
)
def test_a_cropped_label_is_called_that(
    affine: NDArray[Any], start: tuple[float, ...], shape: tuple[int, ...], says: str
) -> None:
    """What 3D Slicer saves by default; else its shape is the reason."""
    moved = affine.copy()
    moved[:3, 3] = (affine @ [*start, 1])[:3]
    found = compare(geometry(affine), geometry(moved, shape), "world").reason
    assert says in found
    assert bool(found) == bool(says)
    assert compare(geometry(affine), geometry(moved, shape), "voxels").reason == ""
