"""The bootstrap against a plain loop and against theory."""

import numpy as np
import pytest
from scipy.stats import norm

from stages.evaluate.bootstrap import bootstrap_intervals


def test_the_vectorised_bootstrap_equals_a_loop() -> None:
    """Resample by resample, with the same draws, the same interval."""
    values = np.random.default_rng(1).random((7, 3))
    found = bootstrap_intervals(values, iterations=50, confidence=0.9, seed=5)
    draws = np.random.default_rng(5).integers(7, size=(50, 7))
    for column, interval in enumerate(found):
        means = sorted(sum(values[index, column] for index in draw) / 7 for draw in draws)
        assert interval.mean == pytest.approx(sum(values[:, column]) / 7)
        assert interval.ci_low == pytest.approx(np.quantile(means, 0.05))
        assert interval.ci_high == pytest.approx(np.quantile(means, 0.95))


def test_the_interval_has_the_width_that_theory_gives() -> None:
    """For many volumes the percentile interval is that of the normal distribution."""
    values = np.random.default_rng(2).normal(0.8, 0.05, size=(400, 1))
    (found,) = bootstrap_intervals(values, iterations=4000, confidence=0.95, seed=0)
    expected = 2 * norm.ppf(0.975) * values.std() / np.sqrt(400)
    assert found.ci_high - found.ci_low == pytest.approx(expected, rel=0.05)
    assert found.ci_low < found.mean < found.ci_high


def test_the_seed_decides_the_draws() -> None:
    """The same seed repeats the interval bit for bit, another moves it."""
    values = np.random.default_rng(3).random((6, 2))
    same, again, other = (bootstrap_intervals(values, iterations=200, confidence=0.95, seed=seed) for seed in (1, 1, 2))
    assert same == again
    assert same != other


def test_losses_are_compared_on_the_same_draws() -> None:
    """A loss better by 0.1 on every volume has an interval moved by exactly that."""
    values = np.random.default_rng(4).random((6, 1))
    (low,) = bootstrap_intervals(values, iterations=100, confidence=0.95, seed=1)
    (high,) = bootstrap_intervals(values + 0.1, iterations=100, confidence=0.95, seed=1)
    assert high.ci_low - low.ci_low == pytest.approx(0.1)
    assert high.ci_high - low.ci_high == pytest.approx(0.1)


def test_one_volume_gives_a_degenerate_interval() -> None:
    """With one volume both ends are its value."""
    (found,) = bootstrap_intervals(np.array([[0.7]]), iterations=100, confidence=0.95, seed=1)
    assert (found.mean, found.ci_low, found.ci_high) == (0.7, 0.7, 0.7)
