import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from stages.common.imaging.masks.simple_points import are_simple, codes_at, compute_simple, neighbour_steps
from tests.unit.stages.train.losses.geometry.topology import is_simple

CENTRE = 13
# simple configurations of the 2^26 in 3D with 26- and 6-connectivity, as counted by Couprie and Bertrand 2009
# ("New characterizations of simple points in 2D, 3D, and 4D discrete spaces", IEEE TPAMI 31(4))
SIMPLE_CONFIGURATIONS = 25_985_144


def random_codes(count: int, seed: int, share: float = 0.5) -> NDArray[np.uint32]:
    bits = np.random.default_rng(seed).random((count, 26)) < share
    return (bits * (1 << np.arange(26))).sum(axis=1).astype(np.uint32)


def cubes(codes: NDArray[np.uint32]) -> NDArray[np.bool_]:
    """The 3×3×3 neighbourhoods, centre empty."""
    bits = (codes[:, None] >> np.arange(26, dtype=np.uint32)) & 1 == 1
    return np.insert(bits, CENTRE, False, axis=1).reshape(-1, 3, 3, 3)


def test_equals_the_definition_with_labelled_pieces() -> None:
    """T26 = 1 and T6 = 1, counted by scipy.ndimage.label, on neighbourhoods from sparse to dense."""
    for seed, share in enumerate((0.05, 0.2, 0.5, 0.8, 0.95)):
        codes = random_codes(600, seed, share)
        expected = [is_simple(cube) for cube in cubes(codes)]
        assert compute_simple(codes).tolist() == expected
        assert 0 < sum(expected) < len(expected)


def test_as_many_configurations_are_simple_as_are_known_to_be() -> None:
    """A sample's share is within five deviations of the published count."""
    codes = np.random.default_rng(11).integers(0, 1 << 26, 500_000, dtype=np.uint32)
    share = SIMPLE_CONFIGURATIONS / (1 << 26)
    assert abs(compute_simple(codes).mean() - share) < 5 * np.sqrt(share * (1 - share) / len(codes))


def test_the_table_answers_as_the_computation_does_each_time() -> None:
    """First asked and asked again, alone and among others."""
    codes = random_codes(5000, 3)
    expected = compute_simple(codes)
    np.testing.assert_array_equal(are_simple(codes[::7]), expected[::7])
    np.testing.assert_array_equal(are_simple(codes), expected)
    np.testing.assert_array_equal(are_simple(codes), expected)


def test_special_points_are_told_apart() -> None:
    """Alone, buried, at a vessel's end, within a vessel, on a wall or block, in a ring's hole."""
    cases = {
        "alone": ([], False),
        "buried": ([(z, y, x) for z in range(3) for y in range(3) for x in range(3)], False),
        "end of a vessel": ([(1, 1, 0)], True),
        "within a vessel": ([(1, 1, 0), (1, 1, 2)], False),
        "diagonally within a vessel": ([(0, 0, 0), (2, 2, 2)], False),
        "on a flat wall": ([(0, y, x) for y in range(3) for x in range(3)], True),
        "in a ring's hole": ([(1, y, x) for y in range(3) for x in range(3)], False),
        "on top of a block": ([(z, y, x) for z in range(3) for y in range(3) for x in range(3) if z < 2], True),
    }
    for name, (voxels, expected) in cases.items():
        cube = np.zeros((3, 3, 3), np.uint8)
        for voxel in voxels:
            cube[voxel] = 1
        code = codes_at(cube.reshape(-1), np.array([CENTRE]), neighbour_steps((3, 3, 3)))
        assert compute_simple(code).tolist() == [expected], name


def test_codes_are_read_from_a_volume_in_the_order_of_the_bits() -> None:
    """Every inner voxel's code holds its 26 neighbours, without the voxel itself."""
    mask = (np.random.default_rng(0).random((5, 6, 7)) < 0.5).astype(np.uint8)
    inner = np.zeros(mask.shape, bool)
    inner[1:-1, 1:-1, 1:-1] = True
    places = np.flatnonzero(inner)
    found = cubes(codes_at(mask.reshape(-1), places, neighbour_steps((5, 6, 7))))
    windows = np.lib.stride_tricks.sliding_window_view(mask, (3, 3, 3)).reshape(-1, 27).astype(bool)
    np.testing.assert_array_equal(found.reshape(-1, 27), np.where(np.arange(27) == CENTRE, False, windows))


def test_turning_a_neighbourhood_changes_nothing() -> None:
    """Simplicity knows no direction."""
    codes = random_codes(400, 5, 0.3)
    expected = compute_simple(codes)
    volume = cubes(codes)
    for turned in (volume[:, ::-1], volume[:, :, ::-1], volume[..., ::-1], volume.transpose(0, 3, 1, 2)):
        bits = np.delete(turned.reshape(-1, 27), CENTRE, axis=1)
        again = (bits * (1 << np.arange(26))).sum(axis=1).astype(np.uint32)
        np.testing.assert_array_equal(compute_simple(again), expected)


def test_the_reference_itself_counts_pieces_as_topology_does() -> None:
    """A voxel of the reference is simple only where adding it changes no global count either."""
    rng = np.random.default_rng(8)
    for _ in range(60):
        cube = np.pad(rng.random((3, 3, 3)) < 0.3, 1)
        cube[2, 2, 2] = False
        filled = cube.copy()
        filled[2, 2, 2] = True
        if is_simple(cube[1:4, 1:4, 1:4]):
            assert ndimage.label(cube, np.ones((3, 3, 3)))[1] == ndimage.label(filled, np.ones((3, 3, 3)))[1]
            assert ndimage.label(~cube)[1] == ndimage.label(~filled)[1]
