"""What a training remembers of each epoch: the row of its CSV and the points of its MLflow curves."""

from dataclasses import asdict, dataclass, fields
from pathlib import Path

from stages.common.atomic import atomic_write
from stages.common.text import as_csv


@dataclass(frozen=True, kw_only=True)
class EpochRecord:
    """One finished epoch, counted from 1. Means run over the steps that were taken; None if there was none."""

    epoch: int
    loss: float | None
    learning_rate: float  # of the epoch's last step
    gradient_norm: float | None  # before clipping
    nonfinite_steps: int
    validation_dsc: float | None  # None if the epoch was not validated
    seconds: float

    def points(self) -> dict[str, float]:
        """What this epoch adds to the curves."""
        return {name: value for name, value in asdict(self).items() if name != "epoch" and value is not None}


# wall-clock time would differ from one run to the next
_COLUMNS = [field.name for field in fields(EpochRecord) if field.name != "seconds"]


def write_history(path: Path, history: list[EpochRecord]) -> None:
    """`history` as CSV; equal trainings give equal bytes."""
    with atomic_write(path) as stream:
        stream.write(as_csv(_COLUMNS, map(asdict, history)))
