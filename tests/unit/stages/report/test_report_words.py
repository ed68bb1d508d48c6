"""Numbers and findings in words."""

import dataclasses
import datetime
import math

import pytest

from stages.common.cell_name import CellName
from stages.common.metrics import METRICS
from stages.common.requests.report import CellFact, RunFacts
from stages.common.statistics.results import Interval
from stages.report.model import Coverage, Report
from stages.report.pages.html import to_html
from stages.report.pages.markdown import to_markdown
from stages.report.pages.summary import tiles
from stages.report.words import (
    FEW_VOLUMES,
    better,
    cautions,
    choice_words,
    confidence_words,
    difference_text,
    duration,
    effect_text,
    fold_means,
    interval_text,
    labelled_words,
    listed,
    moment,
    number,
    outcome,
    p_text,
    signed,
    verdict,
    with_intervals,
)
from tests.unit.stages.report.made import LOSSES, made_report, trained_cell


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (None, "–"),
        (float("inf"), "–"),
        (0.42, "0.4 s"),
        (9.94, "9.9 s"),
        (10, "10 s"),
        (59.4, "59 s"),
        (59.7, "1 min 0 s"),
        (754, "12 min 34 s"),
        (3599.4, "59 min 59 s"),
        (3600, "1 h 0 min"),
        (9000, "2 h 30 min"),
    ],
)
def test_durations(seconds: float | None, expected: str) -> None:
    """Two units at most."""
    assert duration(seconds) == expected


def test_numbers() -> None:
    """Rounded, with a true minus, and no sign on what rounds to nothing."""
    assert (number(-0.1234, 3), number(None, 2), number(float("nan"), 2)) == ("−0.123", "–", "–")
    assert (signed(0.05, 2), signed(-0.05, 2), signed(-0.0001, 2)) == ("+0.05", "−0.05", "0.00")
    assert (p_text(0.0002), p_text(0.0123), p_text(0.5)) == ("< 0.001", "0.012", "0.50")
    assert (p_text(0.001), p_text(0.0999), p_text(0.1)) == ("0.001", "0.100", "0.10")
    interval = Interval(mean=-1.0, ci_low=-2.0, ci_high=2.5)
    assert interval_text(interval, METRICS["dsc"]) == "−1.000 [−2.000, 2.500]"
    assert interval_text(interval.model_copy(update={"ci_low": None, "ci_high": None}), METRICS["dsc"]) == "−1.000"
    first = made_report().differences[0]
    assert difference_text(first) == "−0.053 [−0.090, −0.010]"
    assert difference_text(dataclasses.replace(first, ci_low=None, ci_high=None)) == "−0.053"
    assert (effect_text(first), effect_text(dataclasses.replace(first, effect_size=None))) == ("−1.3", "–")


def test_a_moment_has_its_zone() -> None:
    """To the minute; a time without a zone has none to tell."""
    moments = [datetime.datetime(2026, 1, 2, 3, 4, 59, tzinfo=zone) for zone in (datetime.UTC, None)]
    assert [moment(one) for one in moments] == ["2026-01-02 03:04 UTC", "2026-01-02 03:04"]


def test_no_interval_is_promised_where_there_is_none() -> None:
    """As for two groups; one among several is enough."""
    none, one = Interval(mean=0.5, ci_low=None, ci_high=None), Interval(mean=0.5, ci_low=0.4, ci_high=0.6)
    report = made_report(confidence=0.95)
    assert with_intervals(report, [none, none]) == ""
    assert with_intervals(report, [none, one]) == ", with its 95 % interval in brackets"


@pytest.mark.parametrize(
    ("confidence", "expected"), [(0.95, "95 % interval"), (0.995, "99.5 % interval"), (None, "interval")]
)
def test_intervals_are_called_what_they_are(confidence: float | None, expected: str) -> None:
    """With their confidence, as far as params.yaml says it."""
    assert confidence_words(made_report(confidence=confidence)) == expected


@pytest.mark.parametrize(
    ("metric", "difference", "low", "high", "p", "expected"),
    [
        ("dsc", 0.1, 0.05, 0.2, 0.01, "dice_ce"),
        ("dsc", -0.1, -0.2, -0.05, 0.01, "cbdice"),
        ("measured_masd_um", 0.1, 0.05, 0.2, 0.01, "cbdice"),  # less is better
        ("measured_masd_um", -0.1, -0.2, -0.05, 0.01, "dice_ce"),
        ("dsc", 0.1, -0.05, 0.2, 0.01, None),
        ("dsc", 0.1, 0.05, 0.2, 0.06, None),
        ("dsc", 0.1, 0.05, 0.2, 0.05, None),
        ("dsc", 0.1, 0.0, 0.2, 0.01, None),
        ("dsc", -0.1, -0.2, 0.0, 0.01, None),
    ],
)
def test_better_needs_interval_and_p(
    metric: str, difference: float, low: float, high: float, p: float, expected: str | None
) -> None:
    """Both must leave chance out, and a distance is better when it is less."""
    found = dataclasses.replace(
        made_report().differences[0], metric=metric, difference=difference, ci_low=low, ci_high=high, p_holm=p
    )
    assert better(found) == expected


def test_an_exploratory_metric_decides_nothing() -> None:
    """However small its p; the primary one is undecided until its own is small."""
    first, *others = made_report().differences
    assert outcome(dataclasses.replace(first, p_holm=0.01)) == "cbdice"
    assert outcome(first) == "undecided"
    assert {outcome(dataclasses.replace(one, p=0.0001)) for one in others} == {"exploratory"}


def test_the_verdict_claims_no_more_than_the_test() -> None:
    """With p = 0.125 the best loss is only the one with the highest mean."""
    open_question = made_report()
    assert "cbdice has the highest mean DSC" in verdict(open_question)
    assert "may be chance" in verdict(open_question)
    sure = tuple(dataclasses.replace(one, p_holm=0.01) for one in open_question.differences)
    assert "It is better than dice_ce beyond chance" in verdict(made_report(differences=sure))
    one_loss = {"cbdice": open_question.metrics["cbdice"]}
    assert verdict(made_report(metrics=one_loss, differences=())) == "One loss was evaluated, cbdice."


def test_every_other_loss_is_in_the_verdict() -> None:
    """Those that it beats, and those that are undecided; pairs of others, and other metrics, say nothing of it."""
    report = made_report()
    metrics = {**report.metrics, "warp": report.metrics["dice_ce"], "cldice": report.metrics["dice_ce"]}
    first = report.differences[0]
    sure = dataclasses.replace(first, p_holm=0.01)
    against = dataclasses.replace(
        first, loss="cbdice", other="warp", difference=0.05, ci_low=0.01, ci_high=0.09, p_holm=0.01
    )
    open_one = dataclasses.replace(first, loss="cldice")
    elsewhere = dataclasses.replace(first, loss="dice_ce", other="warp")
    other_metric = dataclasses.replace(open_one, loss="skeleton", metric="nsd")
    text = verdict(made_report(metrics=metrics, differences=(sure, against, open_one, elsewhere, other_metric)))
    assert text == (
        "cbdice has the highest mean DSC. It is better than dice_ce and warp beyond chance (p < 0.05 after Holm). "
        "Its difference to cldice may be chance: these volumes do not decide it."
    )
    assert verdict(made_report(metrics={})) == "No loss was evaluated."


def test_names_are_listed_as_in_a_sentence() -> None:
    """With an `and` before the last."""
    assert [listed(list(names)) for names in ("a", "ab", "abc")] == ["a", "a and b", "a, b and c"]


def test_a_stale_result_and_a_failed_cell_are_pointed_out() -> None:
    """The stages that changed; each cell that has a reason."""
    cells = (
        CellFact(loss="a", fold=0, status="failed", reason="out of memory"),
        CellFact(loss="a", fold=1, status="trained"),
    )
    found = cautions(made_report(stale=("train", "evaluate"), facts=RunFacts(cells=cells)))
    assert "dvc status reports changes in train, evaluate." in found[0]
    assert found[1] == "a fold 0 failed: out of memory"
    assert len(found) == 3  # and few volumes


@pytest.mark.parametrize(("ruled", "more"), [(5, ""), (6, ", and 1 more")])
def test_many_rules_are_not_all_named(ruled: int, more: str) -> None:
    """Five, and how many more there are."""
    one = made_report().volumes[0]
    volumes = tuple(dataclasses.replace(one, id=f"v{number}", rule="empty") for number in range(ruled))
    found = cautions(made_report(volumes=volumes))[-1]
    assert found.startswith("Set by a rule instead of measured: v0 (dice_ce, empty), v1")
    assert found.endswith(f"v3 (dice_ce, empty) and v4 (dice_ce, empty){more}.")


def test_what_share_is_labelled_is_told_in_words() -> None:
    """A volume counts once, however many losses have it; where all is labelled there is nothing to tell."""
    shares = {"stack0": 0.05, "stack1": 0.15}
    volumes = tuple(dataclasses.replace(one, labelled_share=shares.get(one.id, 1.0)) for one in made_report().volumes)
    sentence = (
        "55.0% of the voxels are labelled (a mean over volumes; 2 of 4 are labelled in part). "
        "All numbers are of those voxels alone (docs/labels.md)."
    )
    report = made_report(volumes=volumes)
    assert labelled_words(report) == sentence
    assert sentence in cautions(report)
    assert sentence in to_html(report)
    assert labelled_words(made_report()) == ""
    nearly = tuple(dataclasses.replace(one, labelled_share=0.9999) for one in made_report().volumes)
    assert labelled_words(made_report(volumes=nearly)).startswith("Over 99.9% of the voxels are labelled")


def test_a_metric_that_needs_larger_labelled_blocks_is_told() -> None:
    """One volume without a value is enough; a missing value where all is labelled has another reason."""
    first, *others = made_report().volumes[:4]
    without = dataclasses.replace(first, values={**first.values, "hd95_um": math.nan})
    in_part = dataclasses.replace(without, labelled_share=0.2)
    told = labelled_words(made_report(volumes=(in_part, *others)))
    assert told.endswith("(docs/labels.md). A metric without a value (–) needs larger labelled blocks.")
    assert labelled_words(made_report(volumes=(without, *others))) == ""


def test_enough_volumes_need_no_word() -> None:
    """Ten groups; and without volumes there is nothing to warn of."""
    assert cautions(_grouped(tuple(f"g{number}" for number in range(FEW_VOLUMES)))) == []
    assert len(cautions(_grouped(tuple(f"g{number}" for number in range(FEW_VOLUMES - 1))))) == 1
    assert cautions(made_report(volumes=())) == []


def test_the_best_loss_is_that_of_the_first_metric_in_its_better_direction() -> None:
    """Where a distance comes first, the loss with the lowest mean is best, and the verdict says so."""
    report = made_report()
    metrics = {loss: {"hd95_um": found["hd95_um"]} for loss, found in report.metrics.items()}
    found = made_report(metrics=metrics)
    assert (report.best, found.best) == ("cbdice", "dice_ce")
    assert "dice_ce has the lowest mean HD95 (µm)" in verdict(found)


def test_it_is_said_which_data_chose_the_networks() -> None:
    """The last epoch, whatever the volumes that are reported say; with its number where the cards know it."""
    report = made_report()
    assert "last epoch (3), a number fixed before the training" in choice_words(report)
    trained = (report.trained[0], trained_cell("a", 1, epochs=5))
    assert "last epoch (3 and 5)" in choice_words(made_report(trained=trained))
    assert "last epoch, a number" in choice_words(made_report(trained=()))


def test_few_volumes_and_rules_are_pointed_out() -> None:
    """A reader is warned of what the numbers cannot carry."""
    volumes = made_report().volumes
    ruled = (dataclasses.replace(volumes[0], rule="disjoint"), *volumes[1:])
    assert any("over 4 volumes" in one for one in cautions(made_report()))
    assert any("stack0 (dice_ce, disjoint)" in one for one in cautions(made_report(volumes=ruled)))
    single = tuple(one for one in volumes if one.id == "stack0")
    assert any("over 1 volume. That is too few" in one for one in cautions(made_report(volumes=single)))


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        (("a", "b", "c", "d", "e"), "Each mean is over 5 volumes. With so few, intervals are wide"),
        (("a", "b", "c", "d"), "Each mean is over 4 volumes. That is too few for an interval"),
        (("a", "a", "b", "b"), "Each mean is over 4 volumes of 2 groups; only groups are independent. That is too few"),
        (("a", "a", "a", "a"), "Each mean is over 4 volumes of 1 group; only groups"),
    ],
)
def test_volumes_of_one_group_count_as_one(groups: tuple[str, ...], expected: str) -> None:
    """The warning is about groups, and names their number where it differs from that of the volumes."""
    assert any(one.startswith(expected) for one in cautions(_grouped(groups)))


def test_many_volumes_of_few_groups_are_few() -> None:
    """Thirty volumes of three animals are pointed out, thirty of ten are not; the tile tells both numbers."""
    for animals in (3, 10):
        report = _grouped(tuple(f"animal {index % animals}" for index in range(30)))
        assert any(f"30 volumes of {animals} groups" in one for one in cautions(report)) == (animals < FEW_VOLUMES)
        assert ("volumes", "30", f"of {animals} groups, held out, each once") in tiles(report)
    assert ("volumes", "4", "held out, each once") in tiles(made_report())


def _grouped(groups: tuple[str, ...]) -> Report:
    """Both losses on a volume of each of `groups`."""
    volumes = [
        dataclasses.replace(made_report().volumes[0], loss=loss, id=f"stack{index}", group=group)
        for loss in LOSSES
        for index, group in enumerate(groups)
    ]
    return made_report(volumes=tuple(volumes))


def test_fold_means_are_means_of_the_fold_s_volumes() -> None:
    """By hand for one fold."""
    means = fold_means(made_report())
    values = [one.values["dsc"] for one in made_report().volumes if one.loss == "cbdice" and one.fold == 1]
    assert means["cbdice"][1] == pytest.approx(sum(values) / len(values))
    assert list(means) == ["dice_ce", "cbdice"]


def test_a_volume_without_a_value_does_not_take_the_mean_of_its_fold() -> None:
    """As in the mean over all folds: one that is labelled in part may have no value of a metric."""
    volumes = list(made_report().volumes)
    gone = dataclasses.replace(volumes[0], values={**volumes[0].values, "dsc": math.nan})
    means = fold_means(made_report(volumes=(gone, *volumes[1:])))
    rest = [one.values["dsc"] for one in volumes[1:] if (one.loss, one.fold) == (gone.loss, gone.fold)]
    assert means[gone.loss][gone.fold] == pytest.approx(sum(rest) / len(rest))
    assert fold_means(made_report(volumes=(gone,))) == {}


def test_a_group_counts_once_in_the_mean_of_its_fold() -> None:
    """Three fields of one animal and one of another: as in the mean over all folds, to which it is compared."""
    first = made_report().volumes[0]
    values = {"a1": 0.9, "a2": 0.9, "a3": 0.9, "b": 0.3}
    volumes = [
        dataclasses.replace(first, id=name, group=name[0], values={**first.values, "dsc": value})
        for name, value in values.items()
    ]
    (found,) = fold_means(made_report(volumes=tuple(volumes))).values()
    assert found[first.fold] == pytest.approx(0.6)


def test_a_partial_report_says_what_is_missing_and_calls_no_loss_the_best() -> None:
    """Their means run over different volumes. That evaluate has not run is not news then."""
    coverage = Coverage(
        missing=(CellName("cbdice", 1), CellName("warp", 0)), volumes={"dice_ce": 4, "cbdice": 2}, of_volumes=4
    )
    report = made_report(coverage=coverage, stale=("train@cbdice-1", "evaluate"))
    first, *others = cautions(report)
    assert first.startswith("This report is partial: cbdice fold 1 and warp fold 0 are missing.")
    assert "dice_ce 4 of 4 and cbdice 2 of 4" in first
    assert not any("dvc status" in other for other in others)
    assert report.best is None
    assert "none is called the best" in verdict(report)
    alone = made_report(coverage=coverage, metrics={"dice_ce": report.metrics["dice_ce"]})
    assert verdict(alone) == "One loss was evaluated, dice_ce."
    for page in (to_markdown(report), to_html(report)):
        assert "This report is partial" in page
        assert 'class="best"' not in page
