"""What evaluate left of held-out volumes and of the spread over seeds and folds."""

import json
from pathlib import Path
from typing import Any

from stages.common.metrics import METRICS
from stages.common.statistics.results import Interval
from stages.report.model import HeldOut, Spread
from stages.report.sources.results import HELD_OUT, UNREADABLE, finite, maybe, read_table, unreadable


def read_held_out(folder: Path) -> dict[str, HeldOut]:
    """Loss → its held-out figures, as metrics.json has them; nothing if no volume is held out. Raises DataError."""
    file = folder / "metrics.json"
    try:
        tree = json.loads(file.read_text(encoding="utf-8"))
        return {loss: _held_out(found[HELD_OUT]) for loss, found in tree.items() if HELD_OUT in found}
    except UNREADABLE as error:
        raise unreadable(file, error) from error


def _held_out(found: dict[str, Any]) -> HeldOut:
    ends = ("mean", "ci_low", "ci_high")
    return HeldOut(
        ensemble={
            METRICS[name].name: Interval(**{end: finite(one[end]) for end in ends})
            for name, one in found["ensemble"].items()
        },
        folds={METRICS[name].name: finite(one["mean"]) for name, one in found["folds"].items()},
        networks=int(found["networks"]),
        volumes=int(found["volumes"]),
        groups=int(found["groups"]),
    )


def read_spreads(folder: Path) -> tuple[Spread, ...]:
    """metrics/spread.csv; nothing if an earlier version wrote none. Raises DataError."""
    file = folder / "spread.csv"

    def parse(line: dict[str, str]) -> Spread:
        return Spread(
            loss=line["loss"],
            metric=METRICS[line["metric"]].name,
            seeds=int(line["seeds"]),
            over_seeds=maybe(line["sd_over_seeds"]),
            folds=int(line["folds"]),
            over_folds=maybe(line["sd_over_folds"]),
        )

    return read_table(file, parse) if file.is_file() else ()
