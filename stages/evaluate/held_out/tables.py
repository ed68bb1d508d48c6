"""metrics/test_per_volume.csv, and what metrics.json says of held-out volumes."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stages.common.atomic import atomic_write
from stages.common.text import as_csv
from stages.evaluate.held_out.rows import HeldOutResult, HeldOutRow
from stages.evaluate.params import Evaluation

TEST_CSV = "test_per_volume.csv"
TEST = "test"  # a key of a loss in metrics.json


def write_held_out(folder: Path, rows: Sequence[HeldOutRow], evaluation: Evaluation) -> None:
    """Write the table, a line for each model and volume; no line where nothing is held out."""
    is_partial = any(row.measurement.labelled_share < 1 for row in rows)
    columns = ["loss", "model", "id", "group", *evaluation.metrics, "rule", *(["labelled_share"] if is_partial else [])]
    with atomic_write(folder / TEST_CSV) as stream:
        stream.write(as_csv(columns, map(_record, rows)))


def _record(row: HeldOutRow) -> dict[str, object]:
    measured = row.measurement
    return {
        "loss": row.loss,
        "model": row.model,
        "id": row.id,
        "group": row.group,
        **{name: None if math.isnan(value) else value for name, value in measured.values.items()},
        "rule": str(measured.rule),
        "labelled_share": measured.labelled_share,
    }


def as_json(result: HeldOutResult) -> dict[str, Any]:
    """What metrics.json has under TEST of a loss."""
    return {
        "ensemble": {name: interval.model_dump() for name, interval in result.ensemble.items()},
        "folds": {name: {"mean": mean} for name, mean in result.folds.items()},
        "networks": result.networks,
        "volumes": result.volumes,
        "groups": result.groups,
    }
