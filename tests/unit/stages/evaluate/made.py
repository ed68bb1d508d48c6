"""Rows with small pictures, for tests that need some."""

from typing import Any

import numpy as np

from stages.common.metrics import METRICS
from stages.common.statistics.results import Interval
from stages.evaluate.measure import Measurement
from stages.evaluate.metrics.bands import BandCounts
from stages.evaluate.metrics.rules import Rule
from stages.evaluate.params import Evaluation, Training
from stages.evaluate.row import Row
from stages.evaluate.views import Views, take_views
from tests.support.tracking.cards import CARD


def evaluation(**changes: Any) -> Evaluation:
    """Params of the evaluation, with every metric."""
    made = Evaluation(
        overlap=0.5,
        threshold=0.5,
        test_time_flips="none",
        backend="auto",
        min_component_um3=None,
        metrics=tuple(METRICS),
        nsd_tolerance_um=1.0,
        radius_bands_um=(1.0, 2.0),
        bootstrap_iterations=200,
        confidence=0.95,
        seed=1,
    )
    return Evaluation.model_validate(made.model_dump() | changes)


def training(losses: tuple[str, ...], folds: tuple[int, ...], seeds: tuple[int, ...] = ()) -> Training:
    """Which cells were trained; the first seed is that of the cards."""
    return Training(losses=losses, folds=folds, seed=CARD.seed, seeds=seeds)


def interval(mean: float) -> Interval:
    """An interval about `mean`."""
    return Interval(mean=mean, ci_low=0, ci_high=1)


def some_views(seed: int = 0) -> Views:
    """Of a random volume, with a prediction that is a little wrong."""
    rng = np.random.default_rng(seed)
    image = rng.random((4, 12, 10), dtype=np.float32)
    label = image > 0.7
    return take_views(image, label, label ^ (rng.random(label.shape) < 0.1), (5.0, 1.0, 2.0))


def row(loss: str, index: int, dsc: float, group: str | None = None) -> Row:
    """Volume `index` under `loss`; the other metrics follow from `dsc`, each in its better direction."""
    measurement = Measurement(
        values={
            metric.name: place - dsc if metric.less_is_better else dsc / (place + 1)
            for place, metric in enumerate(METRICS.values())
        },
        predicted_voxels=1,
        reference_voxels=1,
        common_voxels=1,
        rule=Rule.MEASURED,
        bands=(BandCounts(label=4, label_found=2, line=2, line_found=1), BandCounts(), BandCounts()),
    )
    return Row(
        loss=loss,
        fold=index % 2,
        id=f"v{index}",
        group=group or f"v{index}",
        measurement=measurement,
        views=some_views(),
        weights_sha256="0" * 64,
        seconds=0.0,
    )
