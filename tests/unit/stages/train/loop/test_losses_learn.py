"""Every loss by what it is for, in seconds: training a network that finds a tube in a volume it has not seen."""

from pathlib import Path

import pytest

from stages.train.losses import LOSSES
from tests.unit.stages.train.loop.tiny_training import TinyTraining
from tests.unit.stages.train.tiny import tiny_params

LEAST_DSC = 0.75


@pytest.mark.parametrize("name", list(LOSSES))
def test_a_short_training_finds_the_tube(processed: Path, tmp_path: Path, name: str) -> None:
    """The DSC of the volume that was not trained on reaches 0.75, and no step is skipped."""
    params = tiny_params(max_epochs=1, steps_per_epoch=40, learning_rate=0.03, filters=[4, 8, 8])
    (record,) = TinyTraining(processed, tmp_path, params, loss_name=name).run().state.history
    assert record.validation_dsc is not None
    assert record.validation_dsc >= LEAST_DSC
    assert record.nonfinite_steps == 0
