"""The name of a cell: a loss on a fold, trained from the first seed or from another one."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

ENTRY, SEED_ENTRY = "train", "train_seed"  # entries of dvc.yaml
FIRST_SEED = "first"  # on a command line that names a cell


class CellName(NamedTuple):
    """`seed` is None for the first one (training.seed), which is in no name, so that another value renames nothing."""

    loss: str
    fold: int
    seed: int | None = None

    @property
    def address(self) -> str:
        """As DVC names it: `train@dice_ce-0`, `train_seed@dice_ce-0-7`."""
        entry, end = (ENTRY, "") if self.seed is None else (SEED_ENTRY, f"-{self.seed}")
        return f"{entry}@{self.loss}-{self.fold}{end}"

    @property
    def place(self) -> str:
        """Its file below models/ or metrics/training/, without a suffix: `dice_ce/fold_0`, `dice_ce/seed_7/fold_0`."""
        seed = "" if self.seed is None else f"seed_{self.seed}/"
        return f"{self.loss}/{seed}fold_{self.fold}"

    @property
    def words(self) -> str:
        """For people: `dice_ce fold 0`, `dice_ce fold 0 seed 7`."""
        return f"{self.loss} fold {self.fold}{seed_words(self.seed)}"


def seed_words(seed: int | None) -> str:
    """` seed 7`; nothing for the first seed."""
    return "" if seed is None else f" seed {seed}"


def cell_from(words: Sequence[str]) -> CellName:
    """The cell that three words of a command line name: loss, fold, and another seed or FIRST_SEED."""
    loss, fold, seed = words
    return CellName(loss, int(fold), None if seed == FIRST_SEED else int(seed))


def stage_among(known: Iterable[str], address: str) -> str:
    """The stage of `known` that an entry of dvc.yaml runs: `train` for `train@dice_ce-0` and `train_seed@dice_ce-0-7`.

    It has the entry's name, or the longest part of it before an underscore. If none has, it is the entry's name.
    """
    entry = address.split("@")[0]
    return max((name for name in known if f"{entry}_".startswith(f"{name}_")), key=len, default=entry)


def every_cell(losses: Sequence[str], folds: Sequence[int], seeds: Sequence[int]) -> tuple[CellName, ...]:
    """Each loss on each fold from the first seed, then from each of the further `seeds`."""
    return tuple(CellName(loss, fold, seed) for loss in losses for seed in (None, *seeds) for fold in folds)
