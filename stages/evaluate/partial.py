"""Results of some cells while others are not trained: what they cover, and what may be compared in them.

A mean over some folds is not the mean over all of them. So every result says how many of the volumes it covers, and
losses are compared on the volumes that both were measured on.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.common.cell_name import CellName
from stages.common.splits import SPLITS, read_splits
from stages.evaluate.params import Training
from stages.evaluate.row import Row

PARTIAL = "partial"  # a key of metrics.json that only a partial evaluation has


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """`missing` are the cells that were left out; `volumes` is how many volumes a loss has in all its folds."""

    missing: tuple[CellName, ...]
    volumes: int

    @property
    def is_partial(self) -> bool:
        """Whether a cell is missing."""
        return bool(self.missing)

    def words(self) -> str:
        """Which cells are missing."""
        return ", ".join(cell.words for cell in self.missing)

    def as_json(self, rows: Sequence[Row]) -> dict[str, Any]:
        """What metrics.json has under PARTIAL: missing cells, and over how many volumes of how many each mean runs."""
        return {
            "missing": [_as_json(cell) for cell in self.missing],
            "volumes": {
                loss: len({row.volume for row in rows if row.loss == loss})
                for loss in dict.fromkeys(row.loss for row in rows)
            },
            "of_volumes": self.volumes,
        }


def _as_json(cell: CellName) -> dict[str, Any]:
    return {"loss": cell.loss, "fold": cell.fold} | ({} if cell.seed is None else {"seed": cell.seed})


def coverage_of(training: Training, processed: Path, left_out: Collection[CellName]) -> Coverage:
    """What an evaluation of `training` covers without the cells in `left_out`."""
    drawn = read_splits(processed / SPLITS)
    # a fold that does not exist is why its cells are missing
    folds = [drawn[fold] for fold in training.folds if 0 <= fold < len(drawn)]
    return Coverage(
        missing=tuple(cell for cell in training.cells if cell in left_out), volumes=sum(len(fold.val) for fold in folds)
    )


def comparable(rows: list[Row]) -> list[Row]:
    """The rows of the volumes that every loss was measured on; those of the first loss if there are none.

    All of them where no cell is missing.
    """
    by_loss = {loss: {(row.fold, row.id) for row in rows if row.loss == loss} for loss in (row.loss for row in rows)}
    common = set.intersection(*by_loss.values())
    if common:
        return [row for row in rows if (row.fold, row.id) in common]
    return [row for row in rows if row.loss == rows[0].loss]
