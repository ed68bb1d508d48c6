"""The interval of a mean: its coverage by simulation, its limits, and what it is when nothing is skew."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from stages.common.statistics.groups import LEAST_GROUPS, Values, group_means
from stages.evaluate.statistics.intervals import interval_of_mean

Draw = Callable[[np.random.Generator, tuple[int, int]], Values]

# name → draws, their true mean, and what a value can be
DISTRIBUTIONS: dict[str, tuple[Draw, float, float, float]] = {
    "normal": (lambda rng, size: rng.normal(size=size), 0.0, -np.inf, np.inf),
    "beta(8, 2)": (lambda rng, size: rng.beta(8, 2, size), 0.8, 0.0, 1.0),
    "beta(20, 2)": (lambda rng, size: rng.beta(20, 2, size), 20 / 22, 0.0, 1.0),
    "exponential": (lambda rng, size: rng.exponential(size=size), 1.0, 0.0, np.inf),
    "log-normal": (lambda rng, size: rng.lognormal(0, 0.5, size), float(np.exp(0.125)), 0.0, np.inf),
}
SAMPLES = 4000


@pytest.mark.parametrize("groups", [5, 6, 8, 12, 20])
@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_it_covers_what_it_says(name: str, groups: int) -> None:
    """Of 95 % intervals 92 to 98 % hold the mean, within what a value can be, and at most 1.5 times as wide as t."""
    draw, mean, lowest, highest = DISTRIBUTIONS[name]
    samples = draw(np.random.default_rng(groups), (SAMPLES, groups))
    found = [interval_of_mean(one, 0.95, lowest, highest) for one in samples]
    low, high = (np.array([getattr(one, end) for one in found]) for end in ("ci_low", "ci_high"))
    assert 0.92 <= np.mean((low <= mean) & (mean <= high)) <= 0.98
    assert low.min() >= lowest
    assert high.max() <= highest
    student = 2 * stats.t.ppf(0.975, groups - 1) * samples.std(axis=1, ddof=1) / np.sqrt(groups)
    assert np.median(high - low) <= 1.5 * np.median(student)


def test_without_skewness_it_is_students() -> None:
    """Values that lie evenly about their mean: scipy's t interval, in both ends."""
    values = np.array([0.1, 0.3, 0.4, 0.5, 0.7])
    found = interval_of_mean(values, 0.9)
    expected = stats.t.interval(0.9, 4, loc=values.mean(), scale=stats.sem(values))
    assert (found.ci_low, found.ci_high) == pytest.approx(expected)


def test_a_long_tail_widens_its_own_side() -> None:
    """Never narrower than Student's; a mirrored sample has the mirrored interval."""
    values = np.array([0.1, 0.11, 0.12, 0.13, 0.15, 0.9])
    student = stats.t.interval(0.95, 5, loc=values.mean(), scale=stats.sem(values))
    found, mirrored = interval_of_mean(values, 0.95), interval_of_mean(-values, 0.95)
    assert found.ci_low == pytest.approx(student[0])
    assert found.ci_high is not None
    assert found.ci_high > student[1] + 0.1
    assert (mirrored.ci_low, mirrored.ci_high) == pytest.approx((-found.ci_high, -found.ci_low))


def test_the_correction_removes_the_skewness_as_published() -> None:
    """g of each corrected end is Student's quantile again, with g written out as in the paper."""
    values = np.array([1.0, 1.2, 1.9, 2.0, 2.6, 1.4, 1.3])
    groups, error = len(values), stats.sem(values)
    skewness = float(stats.skew(values, bias=False))
    found = interval_of_mean(values, 0.95)
    assert found.ci_high is not None
    studentised = (values.mean() - found.ci_high) / error
    root = np.sqrt(groups)
    transformed = (
        studentised
        + skewness * studentised**2 / (3 * root)
        + skewness**2 * studentised**3 / (27 * groups)
        + skewness / (6 * root)
    )
    assert transformed == pytest.approx(-stats.t.ppf(0.975, groups - 1))


def test_one_value_far_off_does_not_make_it_endless() -> None:
    """No end is farther than twice Student's."""
    values = np.array([0.906, 0.848, 0.888, 0.898, 0.885, 0.633])
    found = interval_of_mean(values, 0.95, 0.0, 1.0)
    student = stats.t.interval(0.95, 5, loc=values.mean(), scale=stats.sem(values))
    assert found.ci_low == pytest.approx(values.mean() - 2 * (values.mean() - student[0]))
    assert found.ci_high == pytest.approx(student[1])


@pytest.mark.parametrize("groups", range(1, LEAST_GROUPS))
def test_too_few_groups_have_no_interval(groups: int) -> None:
    """The mean stands alone."""
    found = interval_of_mean(np.linspace(0.2, 0.4, groups), 0.95)
    assert (found.mean, found.ci_low, found.ci_high) == (
        pytest.approx(np.linspace(0.2, 0.4, groups).mean()),
        None,
        None,
    )


@pytest.mark.parametrize("value", [0.0, 1.0, 0.1, 1e6])
def test_equal_values_have_an_interval_of_no_width(value: float) -> None:
    """Also where their mean is rounded."""
    found = interval_of_mean(np.full(7, value), 0.95)
    assert found.ci_low == found.mean == found.ci_high == pytest.approx(value)


def test_each_group_counts_once() -> None:
    """The mean of a group's volumes, however many there are, in the order in which groups first come."""
    values = np.array([0.2, 0.9, 0.4, 0.5, 0.6])
    assert group_means(values, ["b", "a", "b", "c", "b"]) == pytest.approx([0.4, 0.9, 0.5])
    with pytest.raises(ValueError, match="zip"):
        group_means(values, ["a", "b"])
