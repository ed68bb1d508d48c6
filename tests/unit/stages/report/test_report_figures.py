"""Which charts a report has, and that each value is put where it belongs."""

import dataclasses
import math

import pytest

from stages.common.metrics import METRICS
from stages.common.statistics.results import Interval
from stages.report.drawing.figures import (
    Figure,
    difference_figures,
    fold_figure,
    interval_figures,
    learning_figures,
    resource_figures,
    volume_figures,
)
from stages.report.model import Report
from stages.report.words import fold_means
from tests.unit.stages.report import drawn
from tests.unit.stages.report.made import LOSSES, made_report

TITLES = [metric.within(2.0).title for metric in METRICS.values()]


def titles(figures: list[Figure]) -> list[str]:
    return [figure.title for figure in figures]


def texts(figure: Figure, kind: str) -> list[str]:
    return drawn.texts(drawn.parse(figure.svg), kind)


def labels(figure: Figure) -> list[str]:
    return drawn.labels(drawn.parse(figure.svg))


def alt(figure: Figure) -> str:
    return drawn.parse(figure.svg).attrib["aria-label"]


def colours(figure: Figure) -> dict[str, str]:
    return drawn.colours(drawn.parse(figure.svg))


def test_each_metric_has_a_chart_of_means_with_intervals() -> None:
    """A row per loss in its colour, with its number; a loss without a mean has a row and no mark."""
    report = made_report()
    figures = interval_figures(report)
    assert titles(figures) == TITLES
    dsc = figures[0]
    assert texts(dsc, "name") == list(LOSSES)
    assert texts(dsc, "value") == ["0.712 [0.612, 0.812]", "0.765 [0.665, 0.865]"]
    assert colours(dsc) == {"dice_ce 0.712 [0.612, 0.812]": "c0", "cbdice 0.765 [0.665, 0.865]": "c1"}
    assert alt(dsc) == "DSC by loss: dice_ce 0.712 [0.612, 0.812]; cbdice 0.765 [0.665, 0.865]"
    nothing = Interval(mean=None, ci_low=None, ci_high=None)
    without = made_report(metrics={**report.metrics, "dice_ce": dict.fromkeys(METRICS, nothing)})
    assert texts(interval_figures(without)[0], "name") == list(LOSSES)
    assert len(labels(interval_figures(without)[0])) == 1


def test_each_metric_has_a_chart_of_differences_about_zero() -> None:
    """A row a pair; a metric without a difference has no chart."""
    report = made_report()
    figures = difference_figures(report)
    assert titles(figures) == [f"difference in {title}" for title in TITLES]
    assert texts(figures[0], "name") == ["dice_ce − cbdice"]
    assert texts(figures[0], "value") == ["−0.053 [−0.090, −0.010]"]
    assert alt(figures[0]) == "difference in DSC: dice_ce − cbdice −0.053 [−0.090, −0.010]"
    assert len(drawn.of_kind(drawn.parse(figures[0].svg), "zero")) == 1
    assert titles(difference_figures(made_report(differences=report.differences[1:2]))) == [
        "difference in centreline DSC"
    ]


def test_the_fold_chart_has_each_fold_and_the_mean_of_all() -> None:
    """Folds hollow, the mean full; the text tells the range."""
    report = made_report()
    (figure,) = fold_figure(report, fold_means(report))
    assert texts(figure, "value") == ["0.722 – 0.732", "0.775 – 0.785"]
    assert colours(figure) == {
        "dice_ce fold 0: 0.722": "c0 hollow",
        "dice_ce fold 1: 0.732": "c0 hollow",
        "dice_ce over all folds: 0.712": "c0",
        "cbdice fold 0: 0.775": "c1 hollow",
        "cbdice fold 1: 0.785": "c1 hollow",
        "cbdice over all folds: 0.765": "c1",
    }
    assert fold_figure(report, {}) == []


def volumes_of(count: int, metric: str = "dsc") -> Report:
    """A loss on `count` volumes; the more, the better by the number."""
    one = made_report().volumes[0]
    volumes = [
        dataclasses.replace(one, id=f"v{number:02d}", values={metric: float(number), "nsd": -float(number)})
        for number in range(count)
    ]
    return made_report(metrics={}, volumes=tuple(volumes))


@pytest.mark.parametrize(("metric", "first"), [("dsc", "v03"), ("hd95_um", "v00")])
def test_the_best_volume_is_on_top(metric: str, first: str) -> None:
    """By the first metric, in its better direction, in every chart."""
    figures = volume_figures(volumes_of(4, metric))
    assert titles(figures) == [f"{METRICS[metric].title} of each volume", "NSD (τ = 2 µm) of each volume"]
    for figure in figures:
        names = texts(figure, "name")
        assert names[0] == first
        assert names in (sorted(names), sorted(names, reverse=True))


def test_a_volume_without_a_value_is_last() -> None:
    """And leaves the order of the others as it is."""
    report = volumes_of(5)
    gone = dataclasses.replace(report.volumes[2], values={"dsc": math.nan, "nsd": 0.5})
    volumes = (*report.volumes[:2], gone, *report.volumes[3:])
    figures = volume_figures(dataclasses.replace(report, volumes=volumes))
    assert texts(figures[0], "name") == ["v04", "v03", "v01", "v00", "v02"]


def test_a_volume_has_a_mark_for_each_loss() -> None:
    """In the colour of the loss; charts for the first three metrics, the others are in the table."""
    figures = volume_figures(made_report())
    assert titles(figures) == [f"{title} of each volume" for title in TITLES[:3]]
    assert len(labels(figures[0])) == 8
    assert colours(figures[0])["stack1, cbdice, fold 1: 0.775"] == "c1"
    assert alt(figures[0]) == "DSC of each of 4 volumes; the numbers are in the table"


def test_too_many_volumes_are_left_to_the_table() -> None:
    """Forty rows can be read."""
    assert len(texts(volume_figures(volumes_of(40))[0], "name")) == 40
    assert volume_figures(volumes_of(41)) == []


def test_learning_curves_share_the_dice_and_part_the_losses() -> None:
    """One chart of the validation DSC of all trainings, one of the training loss for each loss: units differ."""
    figures = learning_figures(made_report())
    assert titles(figures) == ["validation DSC", "training loss: dice_ce", "training loss: cbdice"]
    validation, dice, _ = figures
    assert colours(validation)["cbdice fold 1"] == "c1"
    assert "dice_ce fold 0: 0.4 at 2" in labels(validation)
    pieces = [piece for line in drawn.lines(drawn.parse(validation.svg))[:2] for piece in line]
    assert [len(piece) for piece in pieces] == [2, 2]
    assert set(labels(dice)) == {
        f"dice_ce fold {fold}: {loss} at {at}" for fold in (0, 1) for loss, at in ((1.5, 1), (0.5, 3))
    }
    assert alt(validation) == "Validation DSC by epoch of 4 trainings"
    assert alt(dice) == "Training loss dice_ce by epoch, 2 trainings"
    assert learning_figures(made_report(curves=())) == []


def with_samples(**samples: tuple[tuple[float, float], ...]) -> Report:
    """The report with these system metrics for its first training, and none for the others."""
    first, *others = made_report().runs
    named = {f"system/{name}": curve for name, curve in samples.items()}
    runs = (dataclasses.replace(first, samples=named), *(dataclasses.replace(one, samples={}) for one in others))
    return made_report(runs=runs)


def test_a_resource_without_a_sample_has_no_chart() -> None:
    """A server may know its last value and no curve."""
    assert resource_figures(with_samples(cpu_utilization_percentage=())) == []


def test_each_resource_has_a_chart_and_gpus_come_last() -> None:
    """Titles for people, units of theirs; a GPU has its number."""
    curve = ((0.0, 1000.0), (10.0, 2500.0))
    report = with_samples(
        gpu_1_memory_usage_megabytes=curve,
        process_tree_memory_megabytes=curve,
        cpu_utilization_percentage=curve,
    )
    figures = resource_figures(report)
    assert titles(figures) == ["memory of the training", "CPU of the machine", "GPU memory 1"]
    assert [texts(figure, "axis")[1] for figure in figures] == ["GB", "%", "GB"]
    assert alt(figures[0]) == "memory of the training of 4 trainings over time, at most 2.5 GB"
    assert alt(figures[1]) == "CPU of the machine of 4 trainings over time, at most 2.5e+03 %"
    (new,) = resource_figures(with_samples(gpu_0_fan_speed=curve))
    assert (new.title, texts(new, "axis")[1:]) == ("fan speed 0", [])


@pytest.mark.parametrize(
    ("seconds", "unit", "highest"),
    [(180, "s", 180), (181, "min", 181 / 60), (10_800, "min", 180), (10_801, "h", 10_801 / 3600)],
)
def test_time_has_the_unit_that_suits_the_longest_training(seconds: float, unit: str, highest: float) -> None:
    """Seconds to three minutes, minutes to three hours."""
    curve = ((seconds / 2, 1000.0), (float(seconds), 2000.0))
    (figure,) = resource_figures(with_samples(process_tree_memory_megabytes=curve))
    assert texts(figure, "axis")[0] == f"time since start ({unit})"
    chart = drawn.parse(figure.svg)
    ((*_, (end, _)),) = drawn.lines(chart)[0]
    (x0, low), *_, (x1, most) = [(x, float(text)) for text, x, y in drawn.ticks(chart) if y > 170]
    a_unit = (x1 - x0) / (most - low)
    assert (end - x0) / a_unit + low == pytest.approx(highest, rel=0.01)


def test_the_evaluation_is_no_training() -> None:
    """Its resources are not drawn."""
    runs = tuple(dataclasses.replace(one, loss=None, fold=None) for one in made_report().runs)
    assert resource_figures(made_report(runs=runs)) == []
