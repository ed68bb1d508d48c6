"""What is known of held-out volumes, condensed to means."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stages.common.statistics.groups import group_means
from stages.common.statistics.results import Interval
from stages.evaluate.measure import Measurement
from stages.evaluate.params import Evaluation
from stages.evaluate.statistics.summary import interval_of

ENSEMBLE = "ensemble"


@dataclass(frozen=True, kw_only=True)
class HeldOutRow:
    """One held-out volume under one network (`fold_0`, `fold_0_seed_7`), or under ENSEMBLE: the mean of all of them."""

    loss: str
    model: str
    id: str
    group: str
    measurement: Measurement
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class HeldOutResult:
    """The held-out figures of one loss: metric → interval of the ensemble, metric → mean over the single networks.

    A value is None if the metric could be measured in no volume.
    """

    ensemble: dict[str, Interval]
    folds: dict[str, float | None]
    networks: int
    volumes: int
    groups: int


def model_name(fold: int, seed: int | None) -> str:
    """What a single network is called in the tables; `seed` is another one."""
    return f"fold_{fold}" if seed is None else f"fold_{fold}_seed_{seed}"


def summarise_held_out(rows: Sequence[HeldOutRow], evaluation: Evaluation) -> dict[str, HeldOutResult]:
    """Loss → its figures; nothing if no volume is held out."""
    return {
        loss: _result([row for row in rows if row.loss == loss], evaluation)
        for loss in dict.fromkeys(row.loss for row in rows)
    }


def _result(rows: Sequence[HeldOutRow], evaluation: Evaluation) -> HeldOutResult:
    ensemble = [row for row in rows if row.model == ENSEMBLE]
    single = [row for row in rows if row.model != ENSEMBLE]
    return HeldOutResult(
        ensemble={name: interval_of(ensemble, name, evaluation.confidence) for name in evaluation.metrics},
        folds={name: _mean(single, name) for name in evaluation.metrics},
        networks=len({row.model for row in single}),
        volumes=len({row.id for row in ensemble}),
        groups=len({row.group for row in ensemble}),
    )


def _mean(rows: Sequence[HeldOutRow], metric: str) -> float | None:
    """Over the groups, each the mean of its volumes under every network."""
    known = [(row.measurement.values[metric], row.group) for row in rows]
    known = [(value, group) for value, group in known if not math.isnan(value)]
    if not known:
        return None
    values, groups = zip(*known, strict=True)
    return float(group_means(np.array(values), groups).mean())
