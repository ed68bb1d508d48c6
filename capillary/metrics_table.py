"""metrics/metrics.json for people."""

import json
import math
from pathlib import Path
from typing import Any

from rich.table import Table

from capillary.params_file import listed_cells, read_params_file
from capillary.project_folder import require_project
from stages.common.errors import DataError
from stages.common.metrics import METRICS
from stages.common.params import PARAMS_FILE
from stages.common.program.console import console, plain, print_answer

NONE = "–"
HELD_OUT = "test"  # a key of a loss in metrics.json
HELD_OUT_TITLE = r"held-out volumes, ensemble: mean \[interval]"


def show_metrics(root: Path) -> None:
    """Print each loss of `root`/metrics/metrics.json with its metrics as mean [interval]."""
    file = root / "metrics" / "metrics.json"
    if not file.is_file():
        require_project(root)
        raise DataError("there are no metrics yet", file=file, remedy="run ./just reproduce or dvc pull first")
    try:
        found = json.loads(file.read_text())
        shown, tolerance_um = _without_former(found, root), _nsd_tolerance_um(root)
        held_out = {loss: values.pop(HELD_OUT) for loss, values in shown.items() if HELD_OUT in values}
        tables = [metrics_table(shown, tolerance_um)]
        if held_out:
            ensembles = {loss: values["ensemble"] for loss, values in held_out.items()}
            tables.append(metrics_table(ensembles, tolerance_um, HELD_OUT_TITLE))
    except (ValueError, LookupError, AttributeError, TypeError, ArithmeticError, RecursionError) as error:
        raise DataError(
            "the metrics cannot be read",
            file=file,
            value=repr(error),
            remedy="run dvc repro -f -s evaluate, which writes them again",
        ) from error
    console.print(*tables, sep="\n")
    if held_out:
        print_answer(
            "no fold saw the held-out volumes: quote this figure, provided that it was not used to choose anything"
        )


def _without_former(metrics: dict[str, Any], root: Path) -> dict[str, Any]:
    """`metrics` without losses that params.yaml no longer lists, which are named; all where it lists none of them."""
    params = read_params_file(root) if (root / PARAMS_FILE).is_file() else {}
    listed = {cell.loss for cell in listed_cells(params)}
    former = [loss for loss in metrics if loss not in listed]
    if not former or len(former) == len(metrics):
        return metrics
    print_answer(f"left out, because params.yaml no longer lists it: {', '.join(former)}; run dvc repro evaluate")
    return {loss: values for loss, values in metrics.items() if loss in listed}


def _nsd_tolerance_um(root: Path) -> float | None:
    return (
        read_params_file(root).get("evaluation", {}).get("nsd_tolerance_um") if (root / PARAMS_FILE).is_file() else None
    )


def metrics_table(
    metrics: dict[str, dict[str, dict[str, float | None]]],
    nsd_tolerance_um: float | None = None,
    title: str = r"out of fold: mean \[interval]",
) -> Table:
    """A line per metric under each loss: mean over the groups and its interval; ↑ more is better.

    So it fits a terminal of 80 columns, however many metrics there are. Raises KeyError for one that is unknown.
    """
    table = Table("loss", "metric", "", title=title)
    table.add_column("mean", no_wrap=True)
    for loss, values in metrics.items():
        if not values:
            raise ValueError(f"no metric of {loss}")
        for index, (name, value) in enumerate(values.items()):
            metric = METRICS[name].within(nsd_tolerance_um)
            table.add_row(plain("" if index else loss), metric.title, metric.arrow, _cell(value, metric.digits))
        table.add_section()
    return table


def _cell(value: dict[str, float | None], digits: int) -> str:
    mean, low, high = (_number(value[key], digits) for key in ("mean", "ci_low", "ci_high"))
    return mean if low == high == NONE else f"{mean} \\[{low}, {high}]"


def _number(value: float | None, digits: int) -> str:
    return NONE if value is None or math.isnan(value) else f"{value:.{digits}f}"
