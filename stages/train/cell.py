"""One cell of the matrix: a loss, a fold and a seed, and all that follows from them, the volumes and the params."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from stages.common.cell_name import CellName
from stages.common.errors import DataError
from stages.common.imaging.recipe import RECIPE, Recipe, read_recipe
from stages.common.imaging.volumes import MANIFEST, Volume, fold_split, read_manifest
from stages.common.networks.catalogue import find_architecture
from stages.common.networks.plan import NetworkPlan, median_spacing_um, plan_network
from stages.common.splits import SPLITS
from stages.common.text import counted
from stages.train.params import TrainingParams


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One training: a loss, a fold, a seed, and everything that follows from them and the params."""

    loss: str
    fold: int
    params: TrainingParams
    plan: NetworkPlan
    training: list[Volume]
    validation: list[Volume]
    recipe: Recipe
    data_sha256: str
    further_seed: int | None = None  # of training.seeds; None: params.seed is training.seed

    @property
    def name(self) -> CellName:
        """What it is called."""
        return CellName(self.loss, self.fold, self.further_seed)


def plan_cell(processed: Path, params: TrainingParams, loss: str, fold: int, further_seed: int | None = None) -> Cell:
    """Everything that can be refused before anything is trained. Raises DataError and ParamsError.

    The network follows from the spacing of all volumes that are not held out, so every fold trains the same one.
    """
    seen = [volume for volume in read_manifest(processed) if not volume.is_held_out]
    spacing_um = median_spacing_um([volume.spacing_um for volume in seen])
    training, validation = fold_split(processed, fold)
    if not training or not validation:
        raise DataError(
            f"fold {fold} has {counted(len(training), 'volume')} to train on and {len(validation)} to validate on",
            remedy="give every fold at least one of each in the file that preprocess.splits_file names",
            file=processed / "splits.json",
        )
    find_architecture(params.architecture)
    plan = plan_network(
        spacing_um=spacing_um,
        patch_voxels=params.patch_voxels,
        filters=params.filters,
        kernel_rule=params.kernels,
    )
    return Cell(
        loss=loss,
        fold=fold,
        params=params,
        plan=plan,
        training=training,
        validation=validation,
        recipe=read_recipe(processed),
        data_sha256=_sha256_of(processed),
        further_seed=further_seed,
    )


def _sha256_of(processed: Path) -> str:
    """Of all that preprocess made: the manifest, which has the arrays' checksums, the folds and the recipe."""
    files = (processed / name for name in (MANIFEST, SPLITS, RECIPE))
    return hashlib.sha256(b"".join(hashlib.sha256(file.read_bytes()).digest() for file in files)).hexdigest()
