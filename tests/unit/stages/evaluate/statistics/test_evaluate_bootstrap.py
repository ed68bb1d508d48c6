"""The bootstrap against a plain loop and against theory."""

import itertools

import numpy as np
import pytest
from scipy.stats import bootstrap, norm

from stages.evaluate.params import BootstrapMethod
from stages.evaluate.statistics.bootstrap import bootstrap_interval, bootstrap_intervals, resampled_means
from tests.unit.stages.evaluate.made import resampling

ANIMALS = ["b", "a", "b", "c", "b", "a", "d"]  # three fields, two, one and one, not in a row


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


def test_volumes_of_a_group_are_drawn_together() -> None:
    """Draw by draw: all fields of each animal that was drawn, and their mean."""
    values = np.random.default_rng(1).random(7)
    fields = {
        animal: [value for value, owner in zip(values, ANIMALS, strict=True) if owner == animal] for animal in "bacd"
    }
    draws = np.random.default_rng(5).integers(4, size=(50, 4))
    expected = []
    for draw in draws:
        drawn = [value for place in draw for value in fields["bacd"[place]]]
        expected.append(sum(drawn) / len(drawn))
    chosen = resampling(50, seed=5, confidence=0.9)
    assert resampled_means(values, chosen, ANIMALS) == pytest.approx(expected, rel=1e-13)
    (found,) = bootstrap_intervals(values[:, None], chosen, ANIMALS)
    assert found.mean == values.mean()
    assert (found.ci_low, found.ci_high) == pytest.approx(tuple(np.quantile(expected, [0.05, 0.95])))


def test_the_interval_is_that_of_an_enumeration_of_groups() -> None:
    """With all 4^4 draws of four animals instead of random ones, the quantiles are the same but for chance."""
    values = np.random.default_rng(2).normal(0.8, 0.05, 7)
    sums = [sum(values[place] for place in range(7) if ANIMALS[place] == animal) for animal in "abcd"]
    sizes = [ANIMALS.count(animal) for animal in "abcd"]
    means = [
        sum(sums[place] for place in draw) / sum(sizes[place] for place in draw)
        for draw in itertools.product(range(4), repeat=4)
    ]
    (found,) = bootstrap_intervals(values[:, None], resampling(40_000, seed=3, confidence=0.8), ANIMALS)
    assert (found.ci_low, found.ci_high) == pytest.approx(tuple(np.quantile(means, [0.1, 0.9])), abs=0.001)


@pytest.mark.parametrize("method", ["percentile", "bca"])
def test_volumes_that_are_their_own_groups_are_drawn_as_volumes(method: str) -> None:
    """The same bits as Efron's bootstrap over volumes, written out here, for any names of the groups."""
    values = np.random.default_rng(4).lognormal(size=(23, 2))
    chosen = resampling(300, seed=7, method=method)
    draws = np.random.default_rng(7).integers(23, size=(300, 23))
    own = [f"v{-index}" for index in range(23)]
    for column in values.T:
        for groups in (None, own):
            np.testing.assert_array_equal(resampled_means(column, chosen, groups), column[draws].mean(axis=1))
    assert bootstrap_intervals(values, chosen, own) == bootstrap_intervals(values, chosen)


def test_copies_of_a_volume_in_its_group_change_nothing() -> None:
    """Four fields that agree are one animal, where without groups they would halve the interval."""
    values = np.random.default_rng(5).random((8, 1))
    groups = [f"animal {index}" for index in range(8) for _ in range(4)]
    chosen = resampling(1000, seed=1, method="bca")
    (once,), (copied,), (ungrouped,) = (
        bootstrap_intervals(values, chosen),
        bootstrap_intervals(values.repeat(4, axis=0), chosen, groups),
        bootstrap_intervals(values.repeat(4, axis=0), chosen),
    )
    assert (copied.mean, copied.ci_low, copied.ci_high) == pytest.approx((once.mean, once.ci_low, once.ci_high))
    assert ungrouped.ci_high - ungrouped.ci_low < 0.6 * (once.ci_high - once.ci_low)


def test_bca_of_groups_equals_scipys() -> None:
    """SciPy's BCa of a ratio of sums, whose jackknife leaves out one pair of sum and size: one group."""
    rng = np.random.default_rng(6)
    sizes = rng.integers(1, 6, size=12)
    groups = [f"animal {index}" for index, size in enumerate(sizes) for _ in range(size)]
    values = rng.lognormal(size=len(groups)) + np.repeat(rng.lognormal(size=12), sizes)
    sums = np.array([part.sum() for part in np.split(values, np.cumsum(sizes)[:-1])])
    reference = bootstrap(
        (sums, sizes),
        lambda drawn, counts, axis: drawn.sum(axis=axis) / counts.sum(axis=axis),
        paired=True,
        n_resamples=2000,
        batch=2000,
        confidence_level=0.9,
        method="BCa",
        rng=np.random.default_rng(5),
    )
    chosen = resampling(2000, seed=5, confidence=0.9, method="bca")
    means = resampled_means(values, chosen, groups)
    assert means == pytest.approx(reference.bootstrap_distribution, rel=1e-12)  # the same draws, even
    found = bootstrap_interval(values, means, chosen, groups)
    assert found.method is BootstrapMethod.BCA
    assert found.ci_low == pytest.approx(reference.confidence_interval.low, rel=1e-9)
    assert found.ci_high == pytest.approx(reference.confidence_interval.high, rel=1e-9)


def test_bca_of_groups_equals_its_formula() -> None:
    """Bias by counting, acceleration by leaving out one animal at a time, volume for volume."""
    values = np.random.default_rng(9).lognormal(size=7)
    chosen = resampling(500, seed=2, confidence=0.8, method="bca")
    means = resampled_means(values, chosen, ANIMALS)
    without = [np.mean([values[i] for i in range(7) if ANIMALS[i] != animal]) for animal in "abcd"]
    deviations = [np.mean(without) - one for one in without]
    acceleration = sum(one**3 for one in deviations) / (6 * sum(one**2 for one in deviations) ** 1.5)
    below = [1 if one < values.mean() else 0.5 if one == values.mean() else 0 for one in means]
    bias = norm.ppf(sum(below) / 500)
    tails = []
    for tail in (0.1, 0.9):
        shifted = bias + norm.ppf(tail)
        tails.append(norm.cdf(bias + shifted / (1 - acceleration * shifted)))
    found = bootstrap_interval(values, means, chosen, ANIMALS)
    assert found.method is BootstrapMethod.BCA
    assert (found.ci_low, found.ci_high) == pytest.approx(tuple(np.quantile(means, tails)), rel=1e-9)


@pytest.mark.parametrize("method", ["percentile", "bca"])
@pytest.mark.parametrize("volumes", [2, 9, 300])
def test_one_group_gives_a_degenerate_interval(volumes: int, method: str) -> None:
    """As one volume does: however many fields of one animal there are, nothing is known of another."""
    values = np.random.default_rng(volumes).random((volumes, 1))
    (found,) = bootstrap_intervals(values, resampling(100, seed=1, method=method), ["mouse"] * volumes)
    assert (found.mean, found.ci_low, found.ci_high) == (values.mean(), values.mean(), values.mean())
    assert found.method is BootstrapMethod.PERCENTILE


def test_the_interval_of_groups_covers_the_mean_as_often_as_that_of_as_many_volumes() -> None:
    """Of 300 intervals from 20 animals with four fields each nine tenths hold the mean, without groups two thirds."""
    rng = np.random.default_rng(0)
    animals = rng.normal(0, 0.02, (20, 300)).repeat(4, axis=0)
    samples = animals + rng.normal(0, 0.005, animals.shape)
    groups = [f"animal {index // 4}" for index in range(80)]
    chosen = resampling(500, seed=2)
    held, without = (
        np.mean([one.ci_low <= 0 <= one.ci_high for one in bootstrap_intervals(samples, chosen, given)])
        for given in (groups, None)
    )
    assert held > 0.88
    assert without < 0.75


def test_each_volume_needs_a_group() -> None:
    """Groups of other volumes are an error, not a guess."""
    with pytest.raises(ValueError, match="longer"):
        bootstrap_intervals(np.zeros((3, 1)), resampling(10, seed=1), ["a", "b"])
