"""What is to be evaluated: each trained cell (loss, fold, seed) with its model card and the volumes it never saw."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from stages.common.cell_name import CellName
from stages.common.errors import DataError
from stages.common.imaging.volumes import Volume, fold_split, read_manifest
from stages.common.program.messages import get_logger
from stages.common.tracking.cards.card import ModelCard, read_card
from stages.evaluate.params import Training

log = get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One trained network with its validation volumes and those that no fold saw, both sorted by id.

    `seed` is another one, None: training.seed.
    """

    loss: str
    fold: int
    card: ModelCard
    volumes: tuple[Volume, ...]
    held_out: tuple[Volume, ...] = ()
    seed: int | None = None

    @property
    def name(self) -> CellName:
        """What it is called."""
        return CellName(self.loss, self.fold, self.seed)


def read_cells(training: Training, processed: Path, models: Path, left_out: Collection[CellName] = ()) -> list[Cell]:
    """Every loss on every fold and seed, in the order of params.yaml; nothing is predicted before all of it is there.

    But for the cells in `left_out`, whose cards are not read. Raises DataError for a fold that does not exist, a
    missing or foreign card, or cells without any volume.
    """
    names = [cell for cell in training.cells if cell not in left_out]
    folds = dict.fromkeys(cell.fold for cell in names)
    validation = {fold: tuple(fold_split(processed, fold)[1]) for fold in folds}
    held_out = tuple(volume for volume in read_manifest(processed) if volume.is_held_out)
    for fold in (fold for fold, volumes in validation.items() if not volumes):
        log.warning(f"fold {fold} has no validation volume and does not enter the means")
    if not any(validation.values()):
        raise DataError(
            "no fold has a validation volume, so there is nothing to evaluate",
            remedy="choose training.folds or splits with at least one validation volume",
            value=list(validation),
        )
    return [
        Cell(
            **name._asdict(),
            card=_card(models, name, training.seed if name.seed is None else name.seed),
            volumes=validation[name.fold],
            held_out=held_out,
        )
        for name in names
    ]


def _card(models: Path, name: CellName, seed: int) -> ModelCard:
    file = models / f"{name.place}.json"
    card = read_card(file)
    if (card.loss, card.fold, card.seed) != (name.loss, name.fold, seed):
        raise DataError(
            "the model card belongs to another cell",
            remedy=f"run `dvc checkout --force {file}` or `dvc repro -f -s {name.address}`",
            file=file,
            value=f"loss {card.loss}, fold {card.fold}, seed {card.seed}",
        )
    return card
