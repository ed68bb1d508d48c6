"""Which charts a report has, and their values. How a chart is drawn is in charts.py."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from stages.common.cell_name import seed_words
from stages.common.metrics import Metric
from stages.common.statistics.results import Interval
from stages.common.text import counted
from stages.report.drawing.charts import Mark, Row, Series, dot_plot, line_chart
from stages.report.model import Report, VolumeResult
from stages.report.words import difference_text, interval_text, number

MOST_ROWS = 40  # of volumes in one chart; beyond, the table tells them better
MOST_VOLUME_CHARTS = 3  # the first metrics; the others are in the table

# ending of MLflow's key → title, unit, factor
RESOURCES = {
    "process_tree_memory_megabytes": ("memory of the training", "GB", 1e-3),
    "cpu_utilization_percentage": ("CPU of the machine", "%", 1.0),
    "utilization_percentage": ("GPU", "%", 1.0),
    "memory_usage_megabytes": ("GPU memory", "GB", 1e-3),
    "power_usage_watts": ("GPU power", "W", 1.0),
}


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A chart with the words next to it."""

    title: str
    svg: str


def interval_figures(report: Report) -> list[Figure]:
    """A chart per metric: mean and interval of each loss."""
    figures = []
    for metric in report.shown:
        rows = []
        for index, (loss, intervals) in enumerate(report.metrics.items()):
            found = intervals[metric.name]
            text = interval_text(found, metric)
            rows.append(Row(label=loss, marks=_interval_mark(found, f"{loss} {text}", index), text=text))
        alt = f"{metric.title} by loss: " + "; ".join(f"{row.label} {row.text}" for row in rows)
        figures.append(Figure(title=metric.title, svg=dot_plot(rows, x_label=metric.title, alt=alt)))
    return _drawn(figures)


def _interval_mark(interval: Interval, label: str, colour: int) -> tuple[Mark, ...]:
    if interval.mean is None:
        return ()
    return (Mark(label=label, value=interval.mean, colour=colour, low=interval.ci_low, high=interval.ci_high),)


def difference_figures(report: Report) -> list[Figure]:
    """A chart per metric: the difference of each pair of losses, with its interval, about 0."""
    figures = []
    for metric in report.shown:
        rows = []
        for found in (one for one in report.differences if one.metric == metric.name):
            label = f"{found.loss} − {found.other}"
            text = difference_text(found)
            mark = Mark(label=text, value=found.difference, colour=None, low=found.ci_low, high=found.ci_high)
            rows.append(Row(label=label, marks=(mark,), text=text))
        title = f"difference in {metric.title}"
        alt = f"{title}: " + "; ".join(f"{row.label} {row.text}" for row in rows)
        figures.append(Figure(title=title, svg=dot_plot(rows, x_label=title, alt=alt, reference=0.0)))
    return _drawn(figures)


def fold_figure(report: Report, folds: dict[str, dict[int, float]]) -> list[Figure]:
    """The mean of each fold in the first metric, hollow, and that over all folds."""
    metric = report.lead
    rows = []
    for index, (loss, means) in enumerate(folds.items()):
        marks = [
            Mark(label=f"{loss} fold {fold}: {number(mean, metric.digits)}", value=mean, colour=index, hollow=True)
            for fold, mean in means.items()
        ]
        mean = report.metrics[loss][metric.name].mean if loss in report.metrics else None
        if mean is not None:
            label = f"{loss} over all folds: {number(mean, metric.digits)}"
            marks.append(Mark(label=label, value=mean, colour=index))
        text = f"{number(min(means.values()), metric.digits)} – {number(max(means.values()), metric.digits)}"
        rows.append(Row(label=loss, marks=tuple(marks), text=text))
    title = f"mean {metric.title} of each fold"
    alt = f"{title}: " + "; ".join(f"{row.label} {row.text}" for row in rows)
    return _drawn([Figure(title=title, svg=dot_plot(rows, x_label=metric.title, alt=alt))])


def volume_figures(report: Report) -> list[Figure]:
    """Each volume under each loss, the best on top, one chart per leading metric; none if there are too many rows.

    Volumes without a value in the first metric come last.
    """
    ids = tuple(dict.fromkeys(volume.id for volume in report.volumes))
    if len(ids) > MOST_ROWS:
        return []
    sign = 1 if report.lead.less_is_better else -1

    def best(name: str) -> float:
        values = (volume.values[report.lead.name] for volume in report.volumes if volume.id == name)
        return min((sign * value for value in values if not math.isnan(value)), default=math.inf)

    ordered = sorted(ids, key=best)
    figures = []
    for metric in report.shown[:MOST_VOLUME_CHARTS]:
        title = metric.title
        rows = [Row(label=name, marks=_volume_marks(report, name, metric), apart=True) for name in ordered]
        alt = f"{title} of each of {counted(len(ids), 'volume')}; the numbers are in the table"
        figures.append(Figure(title=f"{title} of each volume", svg=dot_plot(rows, x_label=title, alt=alt)))
    return _drawn(figures)


def _volume_marks(report: Report, name: str, metric: Metric) -> tuple[Mark, ...]:
    return tuple(
        Mark(
            label=_volume_label(one, metric),
            value=one.values[metric.name],
            colour=_colour(report, one.loss),
        )
        for one in report.volumes
        if one.id == name and math.isfinite(one.values[metric.name])
    )


def _volume_label(one: VolumeResult, metric: Metric) -> str:
    value = number(one.values[metric.name], metric.digits)
    return f"{one.id}, {one.loss}, fold {one.fold}{seed_words(one.seed)}: {value}"


def learning_figures(report: Report) -> list[Figure]:
    """The validation DSC of all trainings in one chart, and the training loss in one per loss: their units differ."""
    validation = [
        Series(
            label=curve.cell.words,
            points=tuple(
                (epoch, dsc) for epoch, dsc in zip(curve.epochs, curve.validation_dsc, strict=True) if dsc is not None
            ),
            colour=_colour(report, curve.loss),
            dash=curve.fold,
            dots=True,
        )
        for curve in report.curves
    ]
    alt = f"Validation DSC by epoch of {counted(len(validation), 'training')}"
    svg = line_chart(validation, x_label="epoch", y_label="validation DSC", alt=alt, whole_x=True)
    return _drawn([Figure(title="validation DSC", svg=svg), *_loss_figures(report)])


def _loss_figures(report: Report) -> Iterator[Figure]:
    for index, loss in enumerate(report.losses):
        series = [
            Series(
                label=curve.cell.words,
                points=tuple(zip(curve.epochs, curve.training_loss, strict=True)),
                colour=index,
                dash=curve.fold,
            )
            for curve in report.curves
            if curve.loss == loss
        ]
        alt = f"Training loss {loss} by epoch, {counted(len(series), 'training')}"
        svg = line_chart(series, x_label="epoch", y_label="training loss", alt=alt, whole_x=True)
        yield Figure(title=f"training loss: {loss}", svg=svg)


def resource_figures(report: Report) -> list[Figure]:
    """One chart per resource, over the time of each training."""
    trainings = [(run, run.cell) for run in report.runs if run.cell is not None]
    keys = dict.fromkeys(key for run, _ in trainings for key in run.samples)
    longest_s = max((time for run, _ in trainings for curve in run.samples.values() for time, _ in curve), default=0.0)
    unit, factor = ("h", 1 / 3600) if longest_s > 3 * 3600 else ("min", 1 / 60) if longest_s > 180 else ("s", 1.0)
    figures = []
    for key in keys:
        title, y_unit, scale = _resource(key)
        series = [
            Series(
                label=cell.words,
                points=tuple((time * factor, value * scale) for time, value in run.samples.get(key, ())),
                colour=_colour(report, cell.loss),
                dash=cell.fold,
            )
            for run, cell in trainings
        ]
        peak = max((value for one in series for _, value in one.points if value is not None), default=0.0)
        alt = f"{title} of {counted(len(series), 'training')} over time, at most {peak:.3g} {y_unit}"
        svg = line_chart(series, x_label=f"time since start ({unit})", y_label=y_unit, alt=alt, from_zero=True)
        figures.append(Figure(title=title, svg=svg))
    return _drawn(sorted(figures, key=lambda figure: figure.title.startswith("GPU")))


def _resource(key: str) -> tuple[str, str, float]:
    """Title, unit and factor of one of MLflow's keys such as system/gpu_0_utilization_percentage."""
    name = key.removeprefix("system/")
    if name in RESOURCES:
        return RESOURCES[name]
    gpu, _, rest = name.removeprefix("gpu_").partition("_")
    title, unit, factor = RESOURCES.get(rest, (rest.replace("_", " "), "", 1.0))
    return f"{title} {gpu}", unit, factor


def _colour(report: Report, loss: str | None) -> int | None:
    return report.losses.index(loss) if loss in report.losses else None


def _drawn(figures: list[Figure]) -> list[Figure]:
    return [figure for figure in figures if figure.svg]
