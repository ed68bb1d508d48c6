"""samples/phantom is what samples/make_phantom.py makes, and looks like vessels."""

import csv
from pathlib import Path

import numpy as np
import pytest
import tifffile
from scipy import ndimage

from samples import make_phantom
from samples.make_phantom import RECIPES, Recipe, make_stack

PHANTOM = Path(__file__).parents[3] / "samples" / "phantom"
MEGABYTE = 1_000_000
BY_ID = pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.id)


@BY_ID
def test_committed_stack_is_made_by_the_script(recipe: Recipe) -> None:
    """The committed image and label are, voxel for voxel, what the seeded script makes."""
    image, label = make_stack(recipe)
    committed_image = tifffile.imread(PHANTOM / "images" / f"{recipe.id}.tif")
    committed_label = tifffile.imread(PHANTOM / "labels" / f"{recipe.id}_label.tif")
    assert committed_image.dtype == image.dtype
    assert committed_image.tobytes() == image.tobytes()
    assert committed_label.tobytes() == label.tobytes()


@BY_ID
def test_label_is_one_connected_tree_of_two_values(recipe: Recipe) -> None:
    """A label holds 0 and the recipe's foreground, joined into one object that fills a vessel-like share."""
    label = tifffile.imread(PHANTOM / "labels" / f"{recipe.id}_label.tif")
    assert set(np.unique(label)) == {0, recipe.foreground}
    assert ndimage.label(label, np.ones((3, 3, 3)))[1] == 1
    assert 0.03 < (label > 0).mean() < 0.15


@BY_ID
def test_radii_are_those_of_vessels(recipe: Recipe) -> None:
    """The thickest vessel is at most 6.5 voxels in radius, and vessels far thinner than that exist."""
    label = tifffile.imread(PHANTOM / "labels" / f"{recipe.id}_label.tif") > 0
    to_wall = ndimage.distance_transform_edt(label, sampling=np.array(recipe.spacing_um) / recipe.spacing_um[2])
    assert 3 < to_wall.max() <= 6.5
    eroded = ndimage.binary_erosion(label, np.ones((1, 5, 5)))
    assert eroded.sum() < 0.6 * label.sum()


@pytest.mark.parametrize("recipe", [each for each in RECIPES if each.border_voxels], ids=lambda recipe: recipe.id)
def test_border_is_constant_and_unlabelled(recipe: Recipe) -> None:
    """Where a recipe has a border, image and label are 0 there, and the image is not 0 inside."""
    width = recipe.border_voxels
    image = tifffile.imread(PHANTOM / "images" / f"{recipe.id}.tif")
    label = tifffile.imread(PHANTOM / "labels" / f"{recipe.id}_label.tif")
    inner = (slice(None), slice(width, -width), slice(width, -width))
    for stack in (image, label):
        frame = stack.copy()
        frame[inner] = 0
        assert not frame.any()
    assert image[inner].any(axis=0).all()


def test_table_names_every_stack_with_its_spacing() -> None:
    """dataset.csv has one row a recipe, and its files exist."""
    with (PHANTOM / "dataset.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["id"] for row in rows] == [recipe.id for recipe in RECIPES]
    for row, recipe in zip(rows, RECIPES, strict=True):
        assert tuple(float(row[f"spacing_{axis}_um"]) for axis in "zyx") == recipe.spacing_um
        assert (PHANTOM / row["image"]).is_file()
        assert (PHANTOM / row["label"]).is_file()


def test_the_command_writes_files_and_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One image, one label, one table row and one line of output per recipe, as committed."""
    recipe = RECIPES[6]
    monkeypatch.setattr(make_phantom, "RECIPES", (recipe,))
    make_phantom.write_dataset(tmp_path)
    files = [f"images/{recipe.id}.tif", f"labels/{recipe.id}_label.tif"]
    for file in files:
        with tifffile.TiffFile(tmp_path / file) as written, tifffile.TiffFile(PHANTOM / file) as committed:
            assert written.series[0].axes == committed.series[0].axes == "ZYX"
            assert written.pages.first.compression == committed.pages.first.compression
            np.testing.assert_array_equal(written.asarray(), committed.asarray())
    header, *rows = (PHANTOM / "dataset.csv").read_text().splitlines(keepends=True)
    assert (tmp_path / "dataset.csv").read_text() == header + rows[6]
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*")) == ["dataset.csv", *files]
    share = (tifffile.imread(tmp_path / files[1]) > 0).mean()
    assert capsys.readouterr().out == f"{recipe.id} {recipe.shape_zyx} uint8 foreground {share:.1%}\n"


def test_sample_stays_small() -> None:
    """The whole folder takes at most 3 MB of the repository."""
    assert sum(path.stat().st_size for path in PHANTOM.rglob("*")) <= 3 * MEGABYTE
