"""Betti numbers of solids whose shape is known, and against scikit-image and SciPy on noise."""

import numpy as np
import pytest
from hypothesis import given, settings
from scipy.ndimage import generate_binary_structure, label
from skimage.measure import euler_number

from stages.evaluate.metrics.topology import SLAB_SLICES, betti_numbers, euler_characteristic
from tests.unit.stages.evaluate.masks import Mask, ball, mask_pairs

SHAPE = (25, 41, 41)
Z, Y, X = np.indices(SHAPE)


def torus(ring: float, tube: float) -> Mask:
    """A solid torus that lies flat in the middle of SHAPE."""
    return (np.hypot(Y - 20, X - 20) - ring) ** 2 + (Z - 12) ** 2 <= tube**2


def upright(mask: Mask) -> Mask:
    """Crosses many slabs instead of lying in one or two."""
    return np.ascontiguousarray(np.pad(mask, 4).transpose(1, 0, 2))


def shell(outer: float, inner: float) -> Mask:
    """A hollow ball."""
    return ball(SHAPE, (12, 20, 20), outer) & ~ball(SHAPE, (12, 20, 20), inner)


TWO_BALLS = ball(SHAPE, (12, 10, 10), 6) | ball(SHAPE, (12, 30, 30), 6)


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        (np.zeros(SHAPE, dtype=np.bool_), (0, 0, 0)),
        (np.ones(SHAPE, dtype=np.bool_), (1, 0, 0)),
        (ball(SHAPE, (12, 20, 20), 10), (1, 0, 0)),
        (TWO_BALLS, (2, 0, 0)),
        (torus(12, 4), (1, 1, 0)),
        (torus(12, 4) & (X != 20), (2, 0, 0)),  # cut through twice: two arcs
        (torus(12, 4) | (abs(X - 20) < 3) & (abs(Z - 12) < 3) & (abs(Y - 20) < 12), (1, 2, 0)),  # a bar across: θ
        (shell(11, 6), (1, 0, 1)),
        (shell(11, 6) & ~((Z > 12) & (abs(Y - 20) < 2) & (abs(X - 20) < 2)), (1, 0, 0)),  # a hole lets the cavity out
        (shell(11, 6) & ~((abs(Y - 20) < 2) & (abs(X - 20) < 2)), (1, 1, 0)),  # bored through: a tube
        (shell(11, 6) | ball(SHAPE, (12, 20, 20), 3), (2, 0, 1)),
    ],
)
def test_solids_of_known_shape(mask: Mask, expected: tuple[int, int, int]) -> None:
    """Pieces, loops and cavities as topology has them, lying and upright."""
    for seen in (mask, upright(mask)):
        found = betti_numbers(seen)
        assert (found.b0, found.b1, found.b2) == expected


def test_voxels_that_share_a_corner_are_one_piece_and_leave_no_gap() -> None:
    """Foreground joins over corners, so background may not."""
    corner = np.zeros((2, 2, 2), dtype=np.bool_)
    corner[0, 0, 0] = corner[1, 1, 1] = True
    assert betti_numbers(corner).b0 == 1
    diamond = np.zeros((3, 3, 3), dtype=np.bool_)
    for voxel in ((0, 1, 1), (2, 1, 1), (1, 0, 1), (1, 2, 1), (1, 1, 0), (1, 1, 2)):
        diamond[voxel] = True
    assert (betti_numbers(diamond).b0, betti_numbers(diamond).b2) == (1, 1)


def test_a_ring_of_voxels_in_one_slice_is_a_loop() -> None:
    """A loop one voxel wide, also where it touches the volume's edge."""
    ring = np.ones((1, 3, 3), dtype=np.bool_)
    ring[0, 1, 1] = False
    assert betti_numbers(ring).b1 == 1


@pytest.mark.parametrize("density", [0.02, 0.1, 0.3, 0.6, 0.97])
def test_speckle_equals_other_libraries(density: float) -> None:
    """χ of scikit-image, pieces and cavities of SciPy on the whole volume: over several slabs, at every density."""
    mask = np.random.default_rng(3).random((3 * SLAB_SLICES + 2, 30, 31)) < density
    found = betti_numbers(mask)
    assert euler_characteristic(mask) == euler_number(np.pad(mask, 1), connectivity=3)
    assert found.b0 == label(mask, structure=generate_binary_structure(3, 3))[1]
    assert found.b2 == label(np.pad(~mask, 1, constant_values=True))[1] - 1
    assert found.b1 == found.b0 + found.b2 - euler_number(np.pad(mask, 1), connectivity=3)


@settings(max_examples=100, deadline=None)
@given(masks=mask_pairs())
def test_no_mask_has_a_negative_number(masks: tuple[Mask, Mask]) -> None:
    """Loops are a difference of three counts, and still a count; turned masks have the same numbers."""
    found = betti_numbers(masks[0])
    assert min(found.b0, found.b1, found.b2) >= 0
    assert betti_numbers(np.ascontiguousarray(masks[0].transpose(2, 0, 1)[:, ::-1])) == found
