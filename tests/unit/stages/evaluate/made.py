"""Rows with small pictures, for tests that need some."""

import numpy as np

from stages.evaluate.measure import Measurement
from stages.evaluate.metrics.rules import Rule
from stages.evaluate.predict import Row
from stages.evaluate.views import Views, take_views


def some_views(seed: int = 0) -> Views:
    """Of a random volume, with a prediction that is a little wrong."""
    rng = np.random.default_rng(seed)
    image = rng.random((4, 12, 10), dtype=np.float32)
    label = image > 0.7
    return take_views(image, label, label ^ (rng.random(label.shape) < 0.1), (5.0, 1.0, 2.0))


def row(loss: str, index: int, dsc: float) -> Row:
    """Volume `index` under `loss`; the other metrics follow from `dsc`."""
    measurement = Measurement(
        dsc=dsc,
        centreline_dsc=dsc / 2,
        measured_masd_um=1 - dsc,
        measured_masd_voxels=2 - dsc,
        predicted_voxels=1,
        reference_voxels=1,
        common_voxels=1,
        rule=Rule.MEASURED,
    )
    return Row(
        loss=loss,
        fold=index % 2,
        id=f"v{index}",
        measurement=measurement,
        views=some_views(),
        model_name="m",
        model_version="1",
        seconds=0.0,
    )
