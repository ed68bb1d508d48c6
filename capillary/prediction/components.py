"""The size below which parts of a prediction are removed, where params.yaml leaves the choice to evaluate."""

import csv
from pathlib import Path

from stages.common.errors import DataError

CHOSEN = "metrics/components.csv"
ALL_FOLDS = "all"


def chosen_size_um3(root: Path, loss: str | None) -> float | None:
    """What evaluate chose for `loss` on all volumes (None: nothing is removed).

    Raises DataError if it has not chosen: no evaluation under `evaluation.min_component_um3: auto`, or a model that
    is named by the registry.
    """
    file = root / CHOSEN
    if loss is not None and file.is_file():
        with file.open(newline="", encoding="utf-8") as stream:
            for row in csv.DictReader(stream):
                if (row["loss"], row["fold"]) == (loss, ALL_FOLDS):
                    return float(row["min_component_um3"]) or None
    raise DataError(
        "evaluation.min_component_um3 is auto, but no size has been chosen for this model yet",
        file=file,
        remedy="run dvc repro evaluate, or give a size: --min-component-um3",
    )
