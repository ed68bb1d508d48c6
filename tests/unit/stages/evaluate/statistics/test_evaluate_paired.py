"""Paired differences against plain loops and exact tests."""

import itertools

import numpy as np
import pytest

from stages.common.metrics import METRICS
from stages.evaluate.statistics.paired import bootstrap_difference, compare_losses, holm
from tests.unit.stages.evaluate.made import resampling, row

EVALUATION = resampling(400, seed=3, confidence=0.9)


def test_the_bootstrap_equals_a_loop() -> None:
    """Draw by draw: the means, their quantiles, and the share on the far side of 0."""
    differences = np.random.default_rng(1).normal(0.02, 0.05, 12)
    low, high, p = bootstrap_difference(differences, resampling(300, seed=3, confidence=0.9))
    draws = np.random.default_rng(3).integers(12, size=(300, 12))
    means = [sum(differences[volume] for volume in draw) / 12 for draw in draws]
    assert low == pytest.approx(np.quantile(means, 0.05))
    assert high == pytest.approx(np.quantile(means, 0.95))
    below = sum(mean <= 0 for mean in means)
    above = sum(mean >= 0 for mean in means)
    assert p == pytest.approx(min(1, max(2 * (min(below, above) + 1) / 301, 2**-11)))


def test_the_interval_leaves_out_zero_exactly_when_p_is_small() -> None:
    """Interval and p come from the same resamples and say the same, but for the one that is added to the count."""
    for seed in range(30):
        differences = np.random.default_rng(seed).normal(0.03, 0.05, 14)
        low, high, p = bootstrap_difference(differences, resampling(2000, seed=1))
        if abs(p - 0.05) > 0.01:
            assert (low > 0 or high < 0) == (p < 0.05)


def test_few_volumes_are_never_sure() -> None:
    """Volumes that all agree have at most what the sign test, by enumeration, allows; one volume says nothing."""
    for volumes in range(1, 7):
        signs = list(itertools.product((-1, 1), repeat=volumes))
        exact = sum(abs(sum(one)) == volumes for one in signs) / len(signs)
        _, _, p = bootstrap_difference(np.full(volumes, 0.1), resampling(1000, seed=1))
        assert p == pytest.approx(max(exact, 2 / 1001))
    assert bootstrap_difference(np.array([0.3]), resampling(10, seed=1)) == (
        0.3,
        0.3,
        1.0,
    )


def test_equal_losses_do_not_differ() -> None:
    """No difference anywhere: an interval of no width at 0, and p = 1."""
    assert bootstrap_difference(np.zeros(8), resampling(100, seed=1)) == (
        0.0,
        0.0,
        1.0,
    )


def test_p_is_uniform_where_nothing_differs() -> None:
    """Of 400 comparisons of equals about a twentieth has p < 0.05: the test keeps its level with 30 volumes."""
    rng = np.random.default_rng(7)
    found = [bootstrap_difference(rng.normal(0, 1, 30), resampling(500, seed=seed))[2] for seed in range(400)]
    assert 0.025 < np.mean(np.array(found) < 0.05) < 0.095


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], []),
        ([0.2], [0.2]),
        ([0.01, 0.04, 0.03], [0.03, 0.06, 0.06]),  # 3 × 0.01, then 2 × 0.03, then 0.04 raised to it
        ([0.5, 0.6], [1.0, 1.0]),
        ([0.02, 0.02], [0.04, 0.04]),
    ],
)
def test_holm_by_hand(given: list[float], expected: list[float]) -> None:
    """Step-down: the smallest times its number, and never less than the one before."""
    assert holm(given) == pytest.approx(expected)


def test_holm_rejects_what_the_sequential_procedure_rejects() -> None:
    """Holm (1979) as he wrote it: compare the ordered p with α/m, α/(m-1), … and stop at the first that fails."""
    rng = np.random.default_rng(5)
    for _ in range(200):
        values = list(rng.random(5) ** 3)
        rejected = set()
        for rank, index in enumerate(np.argsort(values)):
            if values[index] > 0.05 / (5 - rank):
                break
            rejected.add(int(index))
        assert {index for index, p in enumerate(holm(values)) if p <= 0.05} == rejected


def test_every_pair_in_every_metric_over_the_same_volumes() -> None:
    """Rows are matched by fold and id, whatever their order, and the differences are those of the means."""
    dscs = {"a": [0.5, 0.6, 0.9], "b": [0.4, 0.7, 0.2], "c": [0.1, 0.1, 0.3]}
    rows = [row(loss, index, dsc) for loss, values in dscs.items() for index, dsc in enumerate(values)]
    found = compare_losses([*rows[:3], *reversed(rows[3:6]), *rows[6:]], EVALUATION)
    assert [(one.loss, one.other, one.metric) for one in found] == [
        (*pair, metric) for metric in METRICS for pair in (("a", "b"), ("a", "c"), ("b", "c"))
    ]
    first = found[0]
    assert first.volumes == 3
    assert first.difference == pytest.approx(np.mean(dscs["a"]) - np.mean(dscs["b"]))
    low, high, p = bootstrap_difference(np.array([0.1, -0.1, 0.7]), resampling(400, seed=3, confidence=0.9))
    assert (first.ci_low, first.ci_high, first.p) == pytest.approx((low, high, p))
    assert [one.p_holm for one in found[:3]] == pytest.approx(holm([one.p for one in found[:3]]))
    masd = next(one for one in found if one.metric == "measured_masd_um")
    assert masd.difference == pytest.approx(-first.difference)


def test_one_loss_has_nothing_to_be_compared_with() -> None:
    """No rows, and no failure."""
    assert compare_losses([row("a", index, 0.5) for index in range(3)], EVALUATION) == []


def test_holm_equals_its_closed_form() -> None:
    """max over the p that are no larger, of (number − rank)·p, capped at 1: another way to write the step-down."""
    rng = np.random.default_rng(6)
    for count in (1, 2, 6, 15):
        values = list(np.round(rng.random(count) ** 3, 2))  # with ties
        ordered = sorted(values)
        scaled = [min(1.0, (count - rank) * p) for rank, p in enumerate(ordered)]
        expected = [max(scaled[: len([p for p in ordered if p <= one])]) for one in values]
        assert holm(values) == pytest.approx(expected)


def test_p_is_that_of_an_exact_enumeration() -> None:
    """With all 5^5 resamples instead of random ones, the share on the far side of 0 is the same but for chance."""
    differences = np.array([0.3, -0.1, 0.25, -0.15, 0.2])
    means = differences[np.array(list(itertools.product(range(5), repeat=5)))].mean(axis=1)
    exact = 2 * min(np.mean(means <= 0), np.mean(means >= 0))
    _, _, p = bootstrap_difference(differences, resampling(20_000, seed=4))
    assert exact > 2**-4
    assert p == pytest.approx(exact, abs=0.01)


def test_a_loss_that_is_better_everywhere_differs_in_the_better_direction_of_each_metric() -> None:
    """`loss` − `other` is positive where more is better and negative for distances and errors."""
    rows = [row(loss, index, dsc + index / 100) for loss, dsc in (("good", 0.8), ("bad", 0.5)) for index in range(8)]
    found = compare_losses(rows, EVALUATION)
    assert [one.metric for one in found] == list(METRICS)
    for one in found:
        assert (one.difference < 0) == METRICS[one.metric].less_is_better
        assert one.ci_low * one.ci_high > 0


def test_bca_takes_effect_on_differences() -> None:
    """The interval of a skewed difference moves, its p stays."""
    differences = np.random.default_rng(8).lognormal(size=20) - 0.5
    plain = bootstrap_difference(differences, resampling(1000, seed=1))
    bca = bootstrap_difference(differences, resampling(1000, seed=1, method="bca"))
    assert bca[:2] > plain[:2]
    assert bca[2] == plain[2]


def test_fields_of_two_animals_are_never_sure() -> None:
    """Of 300 comparisons of equals on eight volumes of two animals none has p below what two agreeing animals allow.

    The animals differ by 0.02, the fields of one by 0.005; eight volumes taken for independent make half of them sure.
    """
    rng = np.random.default_rng(0)
    groups = [f"animal {index // 4}" for index in range(8)]
    grouped, without = [], []
    for _ in range(300):
        differences = rng.normal(0, 0.02, 2).repeat(4) + rng.normal(0, 0.005, 8)
        grouped.append(bootstrap_difference(differences, resampling(500, seed=1), groups)[2])
        without.append(bootstrap_difference(differences, resampling(500, seed=1))[2])
    assert min(grouped) >= 0.5
    assert np.mean(np.array(without) < 0.05) > 0.4


def test_p_of_groups_keeps_its_level() -> None:
    """Of 400 comparisons of equals on thirty animals with one to four fields about a twentieth has p < 0.05."""
    rng = np.random.default_rng(7)
    found = []
    for seed in range(400):
        sizes = rng.integers(1, 5, 30)
        groups = [f"animal {index}" for index, size in enumerate(sizes) for _ in range(size)]
        differences = rng.normal(0, 0.02, 30).repeat(sizes) + rng.normal(0, 0.005, len(groups))
        found.append(bootstrap_difference(differences, resampling(500, seed=seed), groups)[2])
    assert 0.025 < np.mean(np.array(found) < 0.05) < 0.095


def test_the_bootstrap_over_groups_equals_a_loop() -> None:
    """Draw by draw, all fields of each animal drawn; p has the floor of four animals, not of seven volumes."""
    differences = np.random.default_rng(3).normal(0.02, 0.05, 7)
    groups = ["b", "a", "b", "c", "b", "a", "d"]
    low, high, p = bootstrap_difference(differences, EVALUATION, groups)
    means = []
    for draw in np.random.default_rng(3).integers(4, size=(400, 4)):
        drawn = [differences[i] for place in draw for i in range(7) if groups[i] == "bacd"[place]]
        means.append(sum(drawn) / len(drawn))
    assert (low, high) == pytest.approx(tuple(np.quantile(means, [0.05, 0.95])))
    far = min(sum(mean <= 0 for mean in means), sum(mean >= 0 for mean in means))
    assert p == pytest.approx(min(1, max(2 * (far + 1) / 401, 2**-3)))


def test_few_groups_are_never_sure() -> None:
    """Animals that all agree have the p of the sign test over animals, whatever the number of their fields."""
    for animals in range(1, 7):
        groups = [f"animal {index}" for index in range(animals) for _ in range(5)]
        _, _, p = bootstrap_difference(np.full(5 * animals, 0.125), resampling(1000, seed=1), groups)
        assert p == max(2.0 ** (1 - animals), 2 / 1001)
    values = np.array([0.25, 0.5])
    assert bootstrap_difference(values, resampling(10, seed=1), ["a", "a"]) == (0.375, 0.375, 1.0)


@pytest.mark.parametrize("method", ["percentile", "bca"])
def test_volumes_of_their_own_groups_are_compared_as_without_groups(method: str) -> None:
    """The same interval and p, bit for bit."""
    differences = np.random.default_rng(8).lognormal(size=20) - 1.2
    chosen = resampling(1000, seed=1, method=method)
    own = [f"v{index}" for index in range(20)]
    assert bootstrap_difference(differences, chosen, own) == bootstrap_difference(differences, chosen)


def test_losses_are_compared_by_the_groups_of_their_rows() -> None:
    """The number of groups stands beside that of the volumes, and interval and p are those of the groups."""
    dscs = {"a": [0.5, 0.6, 0.9, 0.4], "b": [0.4, 0.7, 0.2, 0.3]}
    groups = ["mouse 1", "mouse 2", "mouse 1", "v3"]
    rows = [row(loss, index, dsc, groups[index]) for loss, values in dscs.items() for index, dsc in enumerate(values)]
    first = compare_losses([*rows[:4], *reversed(rows[4:])], EVALUATION)[0]
    assert (first.volumes, first.groups) == (4, 3)
    expected = bootstrap_difference(np.array(dscs["a"]) - dscs["b"], EVALUATION, groups)
    assert (first.ci_low, first.ci_high, first.p) == pytest.approx(expected)
    assert first.p >= 0.25
