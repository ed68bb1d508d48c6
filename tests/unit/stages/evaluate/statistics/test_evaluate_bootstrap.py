"""The bootstrap against a plain loop and against theory."""

import numpy as np
import pytest
from scipy.stats import bootstrap, norm

from stages.evaluate.params import BootstrapMethod
from stages.evaluate.statistics.bootstrap import bootstrap_interval, bootstrap_intervals
from tests.unit.stages.evaluate.made import resampling


def test_the_vectorised_bootstrap_equals_a_loop() -> None:
    """Resample by resample, with the same draws, the same interval."""
    values = np.random.default_rng(1).random((7, 3))
    found = bootstrap_intervals(values, resampling(50, seed=5, confidence=0.9))
    draws = np.random.default_rng(5).integers(7, size=(50, 7))
    for column, interval in enumerate(found):
        means = sorted(sum(values[index, column] for index in draw) / 7 for draw in draws)
        assert interval.mean == pytest.approx(sum(values[:, column]) / 7)
        assert interval.ci_low == pytest.approx(np.quantile(means, 0.05))
        assert interval.ci_high == pytest.approx(np.quantile(means, 0.95))


def test_the_interval_has_the_width_that_theory_gives() -> None:
    """For many volumes the percentile interval is that of the normal distribution."""
    values = np.random.default_rng(2).normal(0.8, 0.05, size=(400, 1))
    (found,) = bootstrap_intervals(values, resampling(4000, seed=0))
    expected = 2 * norm.ppf(0.975) * values.std() / np.sqrt(400)
    assert found.ci_high - found.ci_low == pytest.approx(expected, rel=0.05)
    assert found.ci_low < found.mean < found.ci_high


def test_the_seed_decides_the_draws() -> None:
    """The same seed repeats the interval bit for bit, another moves it."""
    values = np.random.default_rng(3).random((6, 2))
    same, again, other = (bootstrap_intervals(values, resampling(200, seed=seed)) for seed in (1, 1, 2))
    assert same == again
    assert same != other


def test_losses_are_compared_on_the_same_draws() -> None:
    """A loss better by 0.1 on every volume has an interval moved by exactly that."""
    values = np.random.default_rng(4).random((6, 1))
    (low,) = bootstrap_intervals(values, resampling(100, seed=1))
    (high,) = bootstrap_intervals(values + 0.1, resampling(100, seed=1))
    assert high.ci_low - low.ci_low == pytest.approx(0.1)
    assert high.ci_high - low.ci_high == pytest.approx(0.1)


def test_one_volume_gives_a_degenerate_interval() -> None:
    """With one volume both ends are its value."""
    (found,) = bootstrap_intervals(np.array([[0.7]]), resampling(100, seed=1))
    assert (found.mean, found.ci_low, found.ci_high) == (0.7, 0.7, 0.7)


@pytest.mark.parametrize("values", ["skewed", "symmetric", "counts"])
def test_bca_equals_scipys(values: str) -> None:
    """Bias and acceleration from the same resampled means give SciPy's BCa ends, on skewed values and on ties."""
    rng = np.random.default_rng(6)
    drawn = {
        "skewed": rng.lognormal(size=15),
        "symmetric": rng.normal(size=15),
        "counts": rng.integers(0, 4, size=15).astype(np.float64),
    }[values]
    reference = bootstrap(
        (drawn,),
        np.mean,
        n_resamples=2000,
        batch=2000,
        confidence_level=0.9,
        method="BCa",
        rng=np.random.default_rng(5),
    )
    found = bootstrap_interval(
        drawn, reference.bootstrap_distribution, resampling(2000, seed=5, confidence=0.9, method="bca")
    )
    assert found.method is BootstrapMethod.BCA
    assert found.ci_low == pytest.approx(reference.confidence_interval.low, rel=1e-9)
    assert found.ci_high == pytest.approx(reference.confidence_interval.high, rel=1e-9)


def test_bca_leans_towards_the_long_tail() -> None:
    """Of right-skewed values both ends lie further right than the percentiles, which is what acceleration is for."""
    values = np.random.default_rng(8).lognormal(sigma=1.2, size=(30, 1))
    (plain,), (bca,) = (
        bootstrap_intervals(values, resampling(4000, seed=1, method=method)) for method in ("percentile", "bca")
    )
    assert bca.ci_low > plain.ci_low
    assert bca.ci_high > plain.ci_high


def test_bca_covers_a_skewed_mean_at_least_as_often_as_percentiles() -> None:
    """Of 200 samples of 20 exponential values, the interval holds the true mean nearly as often as it promises."""
    rng = np.random.default_rng(9)
    samples = rng.exponential(size=(20, 200))
    held = {
        method: np.mean(
            [
                one.ci_low <= 1 <= one.ci_high
                for one in bootstrap_intervals(samples, resampling(500, seed=2, method=method))
            ]
        )
        for method in ("percentile", "bca")
    }
    assert held["bca"] >= held["percentile"]
    assert held["bca"] > 0.85


@pytest.mark.parametrize("values", [[0.7], [0.5, 0.5, 0.5], [0.0] * 9])
def test_where_bca_is_not_defined_percentiles_stand_in_and_say_so(values: list[float]) -> None:
    """One volume, or volumes that agree, have no acceleration: the interval has no width and its method is named."""
    (found,) = bootstrap_intervals(np.array(values)[:, None], resampling(100, seed=1, method="bca"))
    assert (found.mean, found.ci_low, found.ci_high) == (values[0], values[0], values[0])
    assert found.method is BootstrapMethod.PERCENTILE
