"""The sign-flip test: by enumeration, by scipy, and its error rates by simulation."""

import itertools

import numpy as np
import pytest
from scipy import stats

from stages.common.statistics import flips as module
from stages.common.statistics.flips import MOST_EXACT, FlipTest, flip_test
from stages.common.statistics.groups import Values


def flips(differences: Values, confidence: float = 0.95) -> FlipTest:
    return flip_test(differences, confidence, draws=1000, seed=1)


def brute_p(differences: Values) -> float:
    """The share of all ways to give signs whose sum is as far from 0 as that of `differences`."""
    signs = np.array(list(itertools.product((-1, 1), repeat=len(differences))))
    return float(np.mean(np.abs(signs @ differences) >= abs(differences.sum()) - 1e-12))


def test_p_is_that_of_all_sign_flips() -> None:
    """Written out, on values with ties and zeros; and as scipy's permutation test has it."""
    rng = np.random.default_rng(2)
    for groups in (1, 2, 5, 6, 9):
        for _ in range(10):
            differences = np.round(rng.normal(0.3, 1, groups), 1)
            assert flips(differences).p == pytest.approx(brute_p(differences))
    differences = rng.normal(0.2, 1, 8)
    reference = stats.permutation_test((differences,), np.sum, permutation_type="samples", n_resamples=np.inf)
    assert flips(differences).p == pytest.approx(reference.pvalue)


def test_published_differences() -> None:
    """Six stacks, five of them worse: one agreeing group too few for 0.05."""
    assert flips(np.array([-0.006, -0.005, -0.013, -0.058, 0.003, -0.020])).p == pytest.approx(0.0625)


def test_unanimous_groups_have_the_smallest_p_and_only_they() -> None:
    """2^(1-n), which is told next to p."""
    for groups in range(1, 9):
        found = flips(np.linspace(0.1, 0.3, groups))
        assert found.p == found.p_smallest == 2.0 ** (1 - groups)
    assert flips(np.array([0.1, 0.2, 0.3, 0.4, 0.5, -0.001])).p > 2.0**-5


def test_equal_losses_do_not_differ() -> None:
    """No difference anywhere: p = 1, and an interval of no width."""
    found = flips(np.zeros(8))
    assert (found.p, found.ci_low, found.ci_high) == (1.0, 0.0, 0.0)


@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_the_interval_holds_what_the_test_does_not_refuse(confidence: float) -> None:
    """0 is outside exactly where p is small, and the same for any other mean that is asked for."""
    rng = np.random.default_rng(3)
    for groups in (6, 7, 10):
        for _ in range(20):
            differences = rng.normal(0.6, 1, groups)
            found = flips(differences, confidence)
            assert found.ci_low is not None
            assert found.ci_high is not None
            for asked in (
                0.0,
                0.3,
                found.ci_low - 1e-6,
                found.ci_low + 1e-6,
                found.ci_high - 1e-6,
                found.ci_high + 1e-6,
            ):
                refused = flips(differences - asked, confidence).p <= 1 - confidence + 1e-12
                assert (asked < found.ci_low or asked > found.ci_high) == refused


def test_with_few_groups_the_interval_is_the_whole_range_or_none() -> None:
    """Five: from the smallest to the largest difference. Fewer: none."""
    found = flips(np.array([0.3, -0.1, 0.2, 0.4, 0.1]))
    assert (found.ci_low, found.ci_high) == (-0.1, 0.4)
    found = flips(np.array([0.3, -0.1, 0.2, 0.4]))
    assert (found.ci_low, found.ci_high) == (None, None)


@pytest.mark.parametrize("groups", [6, 8, 20])
def test_a_difference_that_is_not_there_is_rarely_found(groups: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """p ≤ 0.05 in at most 0.055 of comparisons of equals, for light and heavy tails; with 20 groups by drawn signs."""
    monkeypatch.setattr(module, "MOST_EXACT", 12)
    monkeypatch.setattr(module, "LEAST_DRAWS", 999)
    rng, samples = np.random.default_rng(groups), 3000
    values = [
        rng.normal(size=(samples, groups)),
        rng.uniform(-1, 1, (samples, groups)),
        rng.laplace(size=(samples, groups)),
    ]
    found = [flips(one).p for sample in values for one in sample]
    assert np.mean(np.array(found) <= 0.05) <= 0.055


@pytest.mark.parametrize(("groups", "effect", "power"), [(6, 2.0, 0.8), (8, 1.5, 0.9), (12, 1.0, 0.8)])
def test_a_difference_that_is_there_is_found(groups: int, effect: float, power: float) -> None:
    """With groups whose differences have that mean, in standard deviations."""
    rng = np.random.default_rng(groups)
    found = [flips(one).p for one in rng.normal(effect, 1, (400, groups))]
    assert np.mean(np.array(found) <= 0.05) >= power


@pytest.mark.parametrize("groups", [5, 6, 8, 12])
def test_the_interval_covers_the_mean_of_symmetric_differences(groups: int) -> None:
    """0.9375 with five groups, at least 0.95 from six on, and no more than the steps of the test allow."""
    rng = np.random.default_rng(groups)
    found = [flips(one) for one in rng.normal(0.3, 1, (3000, groups))]
    covered = np.mean([one.ci_low <= 0.3 <= one.ci_high for one in found if one.ci_low is not None and one.ci_high])
    assert {5: 0.92, 6: 0.955}.get(groups, 0.94) <= covered <= 0.98


def test_many_groups_are_drawn_and_agree_with_the_t_test() -> None:
    """Beyond what can be enumerated: seeded, never 0, near to Student's p and interval for normal differences."""
    groups = MOST_EXACT + 20
    differences = np.random.default_rng(5).normal(0.25, 1, groups)
    found = flip_test(differences, 0.95, draws=40_000, seed=7)
    assert found == flip_test(differences, 0.95, draws=40_000, seed=7)
    assert found != flip_test(differences, 0.95, draws=40_000, seed=8)
    student = stats.ttest_1samp(differences, 0)
    assert found.p == pytest.approx(student.pvalue, abs=0.01)
    assert (found.ci_low, found.ci_high) == pytest.approx(student.confidence_interval(0.95), abs=0.03)
    assert flip_test(np.full(groups, 0.1), 0.95, draws=10, seed=1).p == pytest.approx(2 / 10_000)
