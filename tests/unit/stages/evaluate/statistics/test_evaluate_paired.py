"""Differences between losses: which rows are compared, what is primary, and Holm's correction."""

import itertools

import numpy as np
import pytest
from scipy import stats

from stages.common.metrics import METRICS
from stages.common.statistics.flips import flip_test
from stages.common.statistics.results import Role
from stages.evaluate.statistics.paired import POWER, compare_losses, detectable_difference, holm
from tests.unit.stages.evaluate.made import evaluation, row

EVALUATION = evaluation()


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


def test_every_pair_in_every_metric_over_the_same_volumes() -> None:
    """Rows are matched by fold and id, whatever their order, and the differences are those of the means."""
    dscs = {"a": [0.5, 0.6, 0.9], "b": [0.4, 0.7, 0.2], "c": [0.1, 0.1, 0.3]}
    rows = [row(loss, index, dsc) for loss, values in dscs.items() for index, dsc in enumerate(values)]
    found = compare_losses([*rows[:3], *reversed(rows[3:6]), *rows[6:]], EVALUATION)
    assert [(one.loss, one.other, one.metric) for one in found] == [
        (*pair, metric) for metric in METRICS for pair in (("a", "b"), ("a", "c"), ("b", "c"))
    ]
    first = found[0]
    assert (first.volumes, first.groups) == (3, 3)
    assert first.difference == pytest.approx(np.mean(dscs["a"]) - np.mean(dscs["b"]))
    masd = next(one for one in found if one.metric == "measured_masd_um")
    assert masd.difference == pytest.approx(-first.difference)


def test_the_first_metric_is_primary_and_alone_corrected() -> None:
    """The others say that they are exploratory, and have neither a corrected p nor a detectable difference."""
    rng = np.random.default_rng(1)
    rows = [row(loss, index, rng.random()) for loss in "abc" for index in range(7)]
    found = compare_losses(rows, evaluation(metrics=("nsd", "dsc")))
    primary, other = found[:3], found[3:]
    assert {(one.metric, one.role) for one in primary} == {("nsd", Role.PRIMARY)}
    assert {(one.metric, one.role) for one in other} == {("dsc", Role.EXPLORATORY)}
    assert [one.p_holm for one in primary] == pytest.approx(holm([one.p for one in primary]))
    assert {(one.p_holm, one.detectable) for one in other} == {(None, None)}
    assert all(one.detectable for one in primary)


def test_a_group_is_one_value_however_many_rows_it_has() -> None:
    """Fields of an animal, and a volume that several folds held out, are averaged before anything is tested."""
    rng = np.random.default_rng(2)
    animals = [f"m{index // 3}" for index in range(18)]
    dscs = {loss: rng.random(18) for loss in "ab"}
    rows = [row(loss, index, dsc, animals[index]) for loss, values in dscs.items() for index, dsc in enumerate(values)]
    found = compare_losses(rows, EVALUATION)[0]
    means = (dscs["a"] - dscs["b"]).reshape(6, 3).mean(axis=1)
    test = flip_test(means, 0.95, draws=1, seed=1)
    assert (found.volumes, found.groups) == (18, 6)
    assert (found.difference, found.p, found.p_smallest) == (pytest.approx(means.mean()), test.p, 2**-5)
    assert (found.ci_low, found.ci_high) == pytest.approx((test.ci_low, test.ci_high))
    assert found.effect_size == pytest.approx(means.mean() / means.std(ddof=1))


def test_a_better_loss_differs_in_the_better_direction_of_each_metric() -> None:
    """`loss` − `other` is positive where more is better and negative for distances and errors."""
    rows = [row(loss, index, dsc) for loss, dsc in (("good", 0.9), ("bad", 0.4)) for index in range(6)]
    for one in compare_losses(rows, EVALUATION):
        assert (one.difference < 0) == METRICS[one.metric].less_is_better


def test_equal_differences_have_no_effect_size() -> None:
    """Their standard deviation is 0: neither it nor a detectable difference exists."""
    rows = [row(loss, index, dsc) for loss, dsc in (("a", 0.75), ("b", 0.5)) for index in range(6)]
    found = compare_losses(rows, EVALUATION)[0]
    assert (found.effect_size, found.detectable) == (None, None)


@pytest.mark.parametrize(("groups", "confidence"), [*itertools.product((5, 6, 20), (0.9, 0.95))])
def test_the_detectable_difference_is_detected_as_often_as_it_says(groups: int, confidence: float) -> None:
    """A t test of normal differences with that mean and the given spread, simulated."""
    differences = np.linspace(-1, 1, groups)
    shift = detectable_difference(differences, 1 - confidence)
    assert shift is not None
    rng = np.random.default_rng(groups)
    samples = rng.normal(shift, differences.std(ddof=1), (20_000, groups))
    found = stats.ttest_1samp(samples, 0, axis=1).pvalue < 1 - confidence
    assert found.mean() == pytest.approx(POWER, abs=0.012)


@pytest.mark.parametrize("groups", range(1, 30))
def test_any_number_of_groups_is_compared(groups: int) -> None:
    """From one on: p always, a detectable difference from five on, and nothing that is not a number."""
    rng = np.random.default_rng(groups)
    rows = [row(loss, index, rng.random()) for loss in "ab" for index in range(groups)]
    found = compare_losses(rows, evaluation(metrics=("dsc",), confidence=0.999 if groups % 2 else 0.95))[0]
    assert 0 < found.p_smallest <= found.p <= 1
    assert (found.detectable is None) == (found.ci_low is None) == (groups < 5)
    assert found.detectable is None or 0 < found.detectable < 10
