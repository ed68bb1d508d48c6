"""metrics/metrics.json for people."""

import json
import math
from pathlib import Path

from rich.table import Table

from stages.common.errors import DataError
from stages.common.progress import console

# metric → title, digits
COLUMNS = {
    "dsc": ("DSC", 3),
    "centreline_dsc": ("centreline DSC", 3),
    "measured_masd_um": ("MASD (µm)", 2),
    "measured_masd_voxels": ("MASD (voxels)", 2),
}


def show_metrics(file: Path) -> None:
    """Print a table of losses by metrics, each as mean [interval]."""
    if not file.is_file():
        raise DataError("there are no metrics yet", file=file, remedy="run ./just reproduce, or dvc pull, first")
    try:
        table = metrics_table(json.loads(file.read_text()))
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise DataError(
            "the metrics cannot be read",
            file=file,
            value=repr(error),
            remedy="run ./just reproduce (dvc repro -f evaluate) to write them anew",
        ) from error
    console.print(table)


def metrics_table(metrics: dict[str, dict[str, dict[str, float | None]]]) -> Table:
    """A row a loss, a column a metric: mean over the out-of-fold volumes [confidence interval by bootstrap]."""
    table = Table("loss", *(title for title, _ in COLUMNS.values()), title="out of fold: mean [bootstrap interval]")
    for loss, values in metrics.items():
        cells = [_cell(values[name], digits) for name, (_, digits) in COLUMNS.items()]
        table.add_row(loss, *cells)
    return table


def _cell(value: dict[str, float | None], digits: int) -> str:
    mean, low, high = (_number(value[key], digits) for key in ("mean", "ci_low", "ci_high"))
    return f"{mean} \\[{low}, {high}]"


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:.{digits}f}"
