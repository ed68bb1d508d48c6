import math

import pytest

from stages.train.loop.schedule import plan_schedule
from tests.unit.stages.train.tiny import tiny_params


def test_the_rate_rises_linearly_to_the_peak_and_falls_as_half_a_cosine() -> None:
    """Compared with the formula at chosen steps: 10 steps of warm-up, 40 of decay."""
    params = tiny_params(max_epochs=5, steps_per_epoch=10, warmup_epochs=1, learning_rate=0.1)
    schedule = plan_schedule(params)
    assert schedule.learning_rate(0) == pytest.approx(0.01)
    assert schedule.learning_rate(9) == pytest.approx(0.1)
    assert schedule.learning_rate(10) == pytest.approx(0.1)
    assert schedule.learning_rate(30) == pytest.approx(0.05)
    assert schedule.learning_rate(49) == pytest.approx(0.05 * (1 + math.cos(math.pi * 39 / 40)))


@pytest.mark.parametrize(("epochs", "warmup"), [(1, 0), (1, 2), (2, 2), (3, 50)])
def test_a_short_training_has_a_rate_above_zero_at_every_step(epochs: int, warmup: int) -> None:
    """A warm-up that does not fit is cut to half of the training."""
    params = tiny_params(max_epochs=epochs, steps_per_epoch=4, warmup_epochs=warmup)
    schedule = plan_schedule(params)
    rates = [schedule.learning_rate(step) for step in range(schedule.total_steps)]
    assert all(rate > 0 for rate in rates)
    assert max(rates) == pytest.approx(params.learning_rate)
    assert schedule.warmup_steps <= schedule.total_steps // 2
