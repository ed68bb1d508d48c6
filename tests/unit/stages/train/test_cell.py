from dataclasses import replace
from pathlib import Path

import pytest

from stages.common.errors import DataError, ParamsError
from stages.common.imaging.recipe import write_recipe
from stages.common.imaging.volumes import HELD_OUT, Checksums, read_manifest, write_manifest
from stages.common.networks.kernel_rule import KernelRule
from stages.common.networks.plan import plan_network
from stages.common.splits import Fold, write_splits
from stages.train.cell import plan_cell
from tests.support.models.recipe import RECIPE
from tests.unit.stages.train.tiny import tiny_params


def test_every_fold_gets_the_same_network_and_its_own_volumes(processed: Path) -> None:
    """Folds are comparable, and no volume is on both sides."""
    cells = [plan_cell(processed, tiny_params(), "dice_ce", fold) for fold in range(3)]
    assert cells[0].plan == cells[1].plan == cells[2].plan
    for cell in cells:
        training, validation = ({volume.id for volume in side} for side in (cell.training, cell.validation))
        assert not training & validation
        assert len(training | validation) == 3


@pytest.mark.parametrize("empty", ["train", "val"])
def test_a_fold_with_nothing_to_train_or_to_validate_on_is_refused(processed: Path, empty: str) -> None:
    """A model that cannot be measured is not trained."""
    ids = tuple(volume.id for volume in read_manifest(processed))
    write_splits(processed, [Fold(**{"train": ids[:1], "val": ids[1:], empty: ()})])
    with pytest.raises(DataError, match="fold 0 has"):
        plan_cell(processed, tiny_params(), "dice_ce", 0)


@pytest.mark.parametrize("file", ["manifest.parquet", "splits.json", "recipe.json"])
def test_other_data_make_another_cell(processed: Path, file: str) -> None:
    """So that a checkpoint of a training started by hand is not taken for one on data prepared anew."""
    before = plan_cell(processed, tiny_params(), "dice_ce", 0)
    assert plan_cell(processed, tiny_params(), "dice_ce", 0).data_sha256 == before.data_sha256
    if file == "manifest.parquet":
        rows = [(volume, Checksums(image="other", label="", skeleton="")) for volume in read_manifest(processed)]
        write_manifest(processed, rows)
    elif file == "splits.json":
        ids = tuple(volume.id for volume in read_manifest(processed))
        write_splits(processed, [Fold(train=ids[1:], val=ids[:1])])
    else:
        write_recipe(processed, replace(RECIPE, percentile_low=1.0))
    assert plan_cell(processed, tiny_params(), "dice_ce", 0).data_sha256 != before.data_sha256


def test_held_out_volumes_have_no_part_in_the_network(processed: Path) -> None:
    """Nor does their spacing; the name of a cell of a further seed says which."""
    volumes = read_manifest(processed)
    spacings, folds = [(6.0, 1.0, 1.0), (2.0, 1.0, 1.0), (2.0, 1.0, 1.0)], (0, HELD_OUT, HELD_OUT)
    rows = [
        (replace(volume, spacing_um=spacing, fold=fold), Checksums(image="", label="", skeleton=""))
        for volume, spacing, fold in zip(volumes, spacings, folds, strict=True)
    ]
    write_manifest(processed, rows)
    cell = plan_cell(processed, tiny_params(), "dice_ce", 0, 7)
    params = cell.params
    alone = plan_network(
        spacing_um=spacings[0],
        patch_voxels=params.patch_voxels,
        filters=params.filters,
        kernel_rule=params.kernels,
    )
    assert cell.plan == alone
    assert cell.name.address == "train_seed@dice_ce-0-7"


def test_a_cell_is_planned_from_the_spacing_of_all_volumes_and_its_params(processed: Path) -> None:
    """Kernels, filters and patch are the params' own; loss, fold and recipe are carried along."""
    volumes = read_manifest(processed)
    spacings = [(2.0, 1.0, 1.0), (6.0, 1.0, 1.0), (6.0, 1.0, 1.0)]
    rows = [
        (replace(volume, spacing_um=spacing), Checksums(image="", label="", skeleton=""))
        for volume, spacing in zip(volumes, spacings, strict=True)
    ]
    write_manifest(processed, rows)
    params = tiny_params(patch_voxels=[6, 16, 32], filters=[2, 4, 6])
    cell = plan_cell(processed, params, "warp", 2)
    assert (cell.loss, cell.fold, cell.params, cell.recipe) == ("warp", 2, params, RECIPE)
    expected = {"spacing_um": (6.0, 1.0, 1.0), "patch_voxels": (6, 16, 32), "filters": (2, 4, 6)}
    assert cell.plan == plan_network(**expected, kernel_rule=KernelRule.AUTO)  # type: ignore[arg-type]  # mixed values
    full = plan_cell(processed, tiny_params(kernels="full"), "warp", 2).plan
    assert full.kernels == ((3, 3, 3),) * 3


def test_an_unknown_architecture_is_refused_before_anything_is_trained(processed: Path) -> None:
    """With the nearest right name."""
    with pytest.raises(ParamsError, match="did you mean `unet`"):
        plan_cell(processed, tiny_params(architecture="unett"), "dice_ce", 0)


def test_a_fold_that_cannot_be_trained_names_the_file_and_both_numbers(processed: Path) -> None:
    """Which of the two is missing, and where it is written."""
    ids = tuple(volume.id for volume in read_manifest(processed))
    write_splits(processed, [Fold(train=ids[:2], val=())])
    with pytest.raises(DataError, match="2 volumes to train on and 0 to validate on") as refusal:
        plan_cell(processed, tiny_params(), "dice_ce", 0)
    assert refusal.value.file == processed / "splits.json"
