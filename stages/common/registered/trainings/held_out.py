"""What evaluate measured on held-out volumes, from the tables that are registered with a training."""

from pathlib import Path

from pydantic import ValidationError

from stages.common.errors import DamagedError
from stages.common.registered.trainings.training import MOST_BYTES, Training
from stages.common.statistics.results import Interval
from stages.common.text import json_value
from stages.common.tracking.publishing import read_local_file

METRICS_JSON = "metrics.json"


def held_out_mean(folder: Path, training: Training) -> Interval | None:
    """The ensemble's mean of the metric that decides; None where no volume is held out, or `folder` has no such table.

    It is shown next to the training and decides nothing.
    """
    try:
        found = json_value(read_local_file(folder, METRICS_JSON, MOST_BYTES))
        for key in (training.loss, "test", "ensemble", training.lead.name):
            found = found[key]
        return Interval.model_validate(found)
    except (DamagedError, ValidationError, KeyError, TypeError, ValueError):
        return None
