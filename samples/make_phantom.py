"""Make samples/phantom: small synthetic two-photon stacks of vessel trees whose labels are exact.

    python samples/make_phantom.py [FOLDER]

Everything random comes from the seed of a recipe, so the same stacks come out every time. samples/phantom/README.md
describes the model; tests/unit/samples compares the committed stacks with what this file makes.
"""

import csv
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

HERE = Path(__file__).parent

STEP_UM = 2.0  # length of one piece of a branch
REACHED_UM = 9.0  # a target this near to the tree counts as supplied: sets the distance between capillaries
TORTUOSITY = 0.35  # random part of a growth direction, in units of the directed part
CAPILLARY_RADIUS_UM = (1.7, 2.2)
MAX_RADIUS_UM = 4.8
TAPER_UM3_PER_UM = 0.06  # growth of r³ towards the root between two forks
PSF_SIGMA_UM = (2.2, 0.8, 0.8)  # z, y, x: two-photon excitation is longer than it is wide


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One stack. Axis order z, y, x; photons are expected counts at the surface."""

    id: str
    group: str
    seed: int
    shape_zyx: tuple[int, int, int]
    spacing_um: tuple[float, float, float]
    targets: int  # places that the tree has to supply: sets how dense it is
    vessel_photons: float
    background_photons: float
    attenuation_um: float  # depth at which the light has fallen to 1/e
    border_voxels: int  # constant frame in y and x, as motion correction leaves it
    gain: int  # grey values per photon
    dtype: str
    foreground: int  # value of a vessel voxel in the label


@dataclass(frozen=True, kw_only=True)
class Tree:
    """A vessel tree: node 0 is the root, `parents[i]` < i."""

    nodes_um: NDArray[np.float64]  # (n, 3), z y x
    parents: NDArray[np.int64]  # (n,)
    radii_um: NDArray[np.float64]  # (n,)


RECIPES = (
    Recipe(
        id="phantom_01", group="animal_a", seed=101, shape_zyx=(20, 128, 128), spacing_um=(2.0, 1.0, 1.0), targets=187,
        vessel_photons=16.0, background_photons=3.0, attenuation_um=45.0, border_voxels=0, gain=8, dtype="uint8",
        foreground=255,
    ),
    Recipe(
        id="phantom_02", group="animal_a", seed=102, shape_zyx=(18, 128, 144), spacing_um=(2.0, 1.0, 1.0), targets=136,
        vessel_photons=14.0, background_photons=3.0, attenuation_um=40.0, border_voxels=6, gain=8, dtype="uint8",
        foreground=255,
    ),
    Recipe(
        id="phantom_03", group="animal_b", seed=103, shape_zyx=(24, 112, 128), spacing_um=(1.5, 0.8, 0.8), targets=119,
        vessel_photons=13.0, background_photons=2.5, attenuation_um=35.0, border_voxels=0, gain=9, dtype="uint8",
        foreground=1,
    ),
    Recipe(
        id="phantom_04", group="animal_b", seed=104, shape_zyx=(22, 128, 112), spacing_um=(1.5, 0.8, 0.8), targets=153,
        vessel_photons=18.0, background_photons=4.0, attenuation_um=38.0, border_voxels=0, gain=7, dtype="uint8",
        foreground=255,
    ),
    Recipe(
        id="phantom_05", group="animal_c", seed=105, shape_zyx=(16, 144, 144), spacing_um=(2.5, 1.0, 1.0), targets=204,
        vessel_photons=15.0, background_photons=3.5, attenuation_um=50.0, border_voxels=8, gain=8, dtype="uint8",
        foreground=1,
    ),
    Recipe(
        id="phantom_06", group="animal_d", seed=106, shape_zyx=(20, 128, 128), spacing_um=(2.0, 1.2, 1.2), targets=238,
        vessel_photons=17.0, background_photons=3.0, attenuation_um=42.0, border_voxels=0, gain=40, dtype="uint16",
        foreground=255,
    ),
    Recipe(
        id="phantom_07", group="animal_e", seed=107, shape_zyx=(18, 136, 136), spacing_um=(2.0, 1.0, 1.0), targets=102,
        vessel_photons=12.0, background_photons=2.5, attenuation_um=40.0, border_voxels=0, gain=10, dtype="uint8",
        foreground=1,
    ),
    Recipe(
        id="phantom_08", group="animal_f", seed=108, shape_zyx=(20, 120, 136), spacing_um=(2.2, 0.9, 0.9), targets=170,
        vessel_photons=16.0, background_photons=4.0, attenuation_um=48.0, border_voxels=5, gain=8, dtype="uint8",
        foreground=255,
    ),
)  # fmt: skip


def make_stack(recipe: Recipe) -> tuple[NDArray[np.generic], NDArray[np.uint8]]:
    """Image and label of `recipe`, both (z, y, x)."""
    rng = np.random.default_rng(recipe.seed)
    margin_um = np.array([0.0, recipe.border_voxels, recipe.border_voxels]) * recipe.spacing_um
    extent_um = (np.array(recipe.shape_zyx) - 1) * recipe.spacing_um
    tree = grow_tree(rng, margin_um, extent_um - margin_um, recipe.targets)
    depth_um = signed_distance_um(tree, recipe.shape_zyx, recipe.spacing_um)
    inside = _inside_border(recipe.shape_zyx, recipe.border_voxels)
    label = ((depth_um <= 0) & inside).astype(np.uint8) * np.uint8(recipe.foreground)
    counts = rng.poisson(expected_photons(rng, recipe, depth_um))
    grey = np.minimum(counts * recipe.gain, np.iinfo(recipe.dtype).max) * inside
    return grey.astype(recipe.dtype), label


def grow_tree(
    rng: np.random.Generator, low_um: NDArray[np.float64], high_um: NDArray[np.float64], targets: int
) -> Tree:
    """Grow a tree from one side towards `targets` random points in the box until each has a branch near it.

    Every target pulls the node nearest to it (space colonisation: Runions et al., 2007); radii follow from the tips to
    the root by Murray's law, r³ = Σ r_child³, with a slight taper between forks.
    """
    wanted_um = rng.uniform(low_um, high_um, size=(targets, 3))
    root_um = np.array([rng.uniform(low_um[0], high_um[0]), rng.uniform(low_um[1], high_um[1]), low_um[2]])
    nodes_um, parents = [root_um], [-1]
    for _ in range(400):
        distance_um, nearest = cKDTree(np.array(nodes_um)).query(wanted_um)
        waiting = distance_um > REACHED_UM
        wanted_um, nearest = wanted_um[waiting], nearest[waiting]
        if not len(wanted_um):
            break
        for parent in np.unique(nearest):
            pull = wanted_um[nearest == parent] - nodes_um[parent]
            direction = (pull / np.linalg.norm(pull, axis=1, keepdims=True)).mean(axis=0)
            direction = direction / np.linalg.norm(direction) + TORTUOSITY * rng.normal(size=3)
            step_um = STEP_UM * direction / np.linalg.norm(direction)
            nodes_um.append(np.clip(nodes_um[parent] + step_um, low_um, high_um))
            parents.append(int(parent))
    order = np.array(parents)
    return Tree(nodes_um=np.array(nodes_um), parents=order, radii_um=_radii_um(rng, order))


def _radii_um(rng: np.random.Generator, parents: NDArray[np.int64]) -> NDArray[np.float64]:
    """Radii by Murray's law; a node without children is a capillary."""
    cubes = np.zeros(len(parents))
    tips = rng.uniform(*CAPILLARY_RADIUS_UM, size=len(parents)) ** 3
    for node in range(len(parents) - 1, -1, -1):
        cubes[node] = cubes[node] + TAPER_UM3_PER_UM * STEP_UM if cubes[node] else tips[node]
        if parents[node] >= 0:
            cubes[parents[node]] += cubes[node]
    return np.minimum(np.cbrt(cubes), MAX_RADIUS_UM)


def signed_distance_um(
    tree: Tree, shape_zyx: tuple[int, int, int], spacing_um: tuple[float, float, float]
) -> NDArray[np.float64]:
    """Distance to the vessel wall, negative inside; right near a vessel, a constant far from all of them."""
    far_um = 4.0
    field = np.full(shape_zyx, far_um)
    spacing = np.array(spacing_um)
    for node in range(1, len(tree.nodes_um)):
        parent = tree.parents[node]
        for share in (0.25, 0.5, 0.75, 1.0):
            centre_um = (1 - share) * tree.nodes_um[parent] + share * tree.nodes_um[node]
            radius_um = (1 - share) * tree.radii_um[parent] + share * tree.radii_um[node]
            low = np.maximum(np.floor((centre_um - radius_um - far_um) / spacing), 0).astype(int)
            high = np.minimum(np.ceil((centre_um + radius_um + far_um) / spacing) + 1, shape_zyx).astype(int)
            box = tuple(slice(start, stop) for start, stop in zip(low, high, strict=True))
            z, y, x = (np.arange(s, e) * d - c for s, e, d, c in zip(low, high, spacing, centre_um, strict=True))
            distance = np.sqrt(z[:, None, None] ** 2 + y[:, None] ** 2 + x**2) - radius_um
            field[box] = np.minimum(field[box], distance)
    return field


def expected_photons(rng: np.random.Generator, recipe: Recipe, depth_um: NDArray[np.float64]) -> NDArray[np.float64]:
    """Expected counts: blurred vessels on an uneven background, unevenly lit and weaker with depth."""
    spacing = np.array(recipe.spacing_um)
    filled = np.clip(0.5 - depth_um / spacing[2], 0, 1)
    vessels = gaussian_filter(filled, np.array(PSF_SIGMA_UM) / spacing)
    light = 0.7 + 0.6 * _smooth_field(rng, recipe, scale_um=40.0)
    haze = 0.2 + 1.8 * _smooth_field(rng, recipe, scale_um=18.0)
    z_um = np.arange(recipe.shape_zyx[0])[:, None, None] * spacing[0]
    signal = recipe.vessel_photons * vessels * light + recipe.background_photons * haze
    # rounded, so that a last bit that another machine computes otherwise cannot change a draw
    photons: NDArray[np.float64] = np.round(signal * np.exp(-z_um / recipe.attenuation_um), 3)
    return photons


def _smooth_field(rng: np.random.Generator, recipe: Recipe, scale_um: float) -> NDArray[np.float64]:
    """A random field in [0, 1] that changes over about `scale_um`."""
    noise = rng.normal(size=recipe.shape_zyx)
    field: NDArray[np.float64] = gaussian_filter(
        noise, scale_um / np.array(recipe.spacing_um) / 2, mode="reflect", truncate=3.0
    )
    field -= field.min()
    field /= field.max()
    return field


def _inside_border(shape_zyx: tuple[int, int, int], border_voxels: int) -> NDArray[np.bool_]:
    inside = np.zeros(shape_zyx, dtype=bool)
    depth, height, width = shape_zyx
    inside[:depth, border_voxels : height - border_voxels, border_voxels : width - border_voxels] = True
    return inside


def write_dataset(folder: Path) -> None:
    """Write every stack and `dataset.csv` into `folder`."""
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    with (folder / "dataset.csv").open("w", newline="") as stream:
        table = csv.writer(stream, lineterminator="\n")
        table.writerow(["id", "group", "image", "label", "spacing_z_um", "spacing_y_um", "spacing_x_um"])
        for recipe in RECIPES:
            image, label = make_stack(recipe)
            files = (f"images/{recipe.id}.tif", f"labels/{recipe.id}_label.tif")
            for file, stack in zip(files, (image, label), strict=True):
                tifffile.imwrite(
                    folder / file, stack, compression="zlib", compressionargs={"level": 9}, metadata={"axes": "ZYX"}
                )
            table.writerow([recipe.id, recipe.group, *files, *recipe.spacing_um])
            share = float((label > 0).mean())
            print(f"{recipe.id} {image.shape} {image.dtype} foreground {share:.1%}")


if __name__ == "__main__":
    write_dataset(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "phantom")
