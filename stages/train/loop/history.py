"""What a training remembers of each epoch: the row of its CSV and the points of its MLflow curves."""

import csv
import io
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from stages.common.atomic import atomic_write


@dataclass(frozen=True, kw_only=True)
class EpochRecord:
    """One finished epoch, counted from 1. Means run over the steps that were taken; None where there was none."""

    epoch: int
    loss: float | None
    learning_rate: float  # of the epoch's last step
    gradient_norm: float | None  # before clipping
    nonfinite_steps: int
    validation_dsc: float | None  # None where the epoch was not validated
    seconds: float

    def points(self) -> dict[str, float]:
        """What this epoch adds to the curves."""
        return {name: value for name, value in asdict(self).items() if name != "epoch" and value is not None}


# wall-clock time would differ from one run to the next
_COLUMNS = [field.name for field in fields(EpochRecord) if field.name != "seconds"]


def write_history(path: Path, history: list[EpochRecord]) -> None:
    """`history` as CSV; equal trainings give equal bytes."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, _COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(record) for record in history)
    with atomic_write(path) as stream:
        stream.write(text.getvalue().encode())
