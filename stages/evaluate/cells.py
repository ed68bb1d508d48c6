"""What is to be evaluated: each trained cell (loss, fold) with its model card and the volumes it never saw."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from stages.common.errors import DataError
from stages.common.imaging.volumes import Volume, fold_split
from stages.common.progress import say
from stages.common.tracking.registry import ModelCard, read_card
from stages.evaluate.params import Training


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One trained network and its validation volumes, sorted by id."""

    loss: str
    fold: int
    card: ModelCard
    volumes: tuple[Volume, ...]


def read_cells(
    training: Training, processed: Path, models: Path, left_out: Collection[tuple[str, int]] = ()
) -> list[Cell]:
    """Every loss on every fold, in the order of params.yaml; nothing is predicted before all of it is there.

    But for the (loss, fold) in `left_out`, whose cards are not read. Raises DataError for a fold that does not exist, a
    missing or foreign card, or cells without any volume.
    """
    names = [(loss, fold) for loss in training.losses for fold in training.folds if (loss, fold) not in left_out]
    validation = {fold: tuple(fold_split(processed, fold)[1]) for fold in dict.fromkeys(fold for _, fold in names)}
    for fold in (fold for fold, volumes in validation.items() if not volumes):
        say(f"fold {fold} validates no volume: it adds nothing to the means")
    if not any(validation.values()):
        raise DataError(
            "none of the folds validates a volume: there is nothing to evaluate",
            remedy="choose training.folds, or splits, in which some volume is held out",
            value=list(validation),
        )
    return [
        Cell(loss=loss, fold=fold, card=_card(models, loss, fold), volumes=validation[fold]) for loss, fold in names
    ]


def _card(models: Path, loss: str, fold: int) -> ModelCard:
    file = models / loss / f"fold_{fold}.json"
    card = read_card(file)
    if (card.loss, card.fold) != (loss, fold):
        raise DataError(
            "the model card belongs to another cell",
            remedy=f"run `dvc checkout --force {file}` or `dvc repro -f train@{loss}-{fold}`",
            file=file,
            value=f"loss {card.loss}, fold {card.fold}",
        )
    return card
