"""The two kinds of charts that a report has, drawn with matplotlib.

Everything is drawn in pixels of a 360 wide picture, so that its text stays legible on a phone. A colour is never alone:
a loss has a colour and a marker, a fold a dash.
"""

import functools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import MaxNLocator, ScalarFormatter

from stages.common.text import visible
from stages.report.drawing.svg import COLOURS, INK, canvas, style, to_svg, told

WIDTH = 360
MARKERS = (("o", 10.0), ("s", 9.0), ("^", 11.0), ("D", 9.0))  # shape and size of a loss's mark
DASHES = ((), (6, 3), (2, 3), (8, 3, 2, 3), (12, 4), (1, 4))  # pixels of line and gap
_LINE_HEIGHT = 200
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 10, 10, 38
_SIDE = 12  # left and right of a dot plot
_ROW = 40  # height of a row of a dot plot: a line of text over a line of marks
_STROKE = 1.8
_MOST = 1e300  # the range of an axis overflows above it


@dataclass(frozen=True, kw_only=True)
class Series:
    """A line. A point whose y is None or not finite interrupts it. `dots` marks each point."""

    label: str
    points: tuple[tuple[float, float | None], ...]
    colour: int | None
    dash: int = 0
    dots: bool = False


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A value on a row, with its interval or without; grey where it is not a single loss's."""

    label: str
    value: float
    colour: int | None
    low: float | None = None
    high: float | None = None
    hollow: bool = False


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of a dot plot; `text` is at its right. `apart` draws the marks a little above each other."""

    label: str
    marks: tuple[Mark, ...]
    text: str = ""
    apart: bool = False


def line_chart(
    series: Sequence[Series], *, x_label: str, y_label: str, alt: str, whole_x: bool = False, from_zero: bool = False
) -> str:
    """Lines on shared axes, which both start at 0 with `from_zero`. Empty if there is nothing to draw."""
    drawn = [(x, y) for one in series for x, y in one.points if y is not None and _is_drawable(x, y)]
    if not drawn:
        return ""
    zero = (0.0,) if from_zero else ()
    with style():
        figure = canvas(WIDTH, _LINE_HEIGHT)
        axes = _axes(figure, _LEFT, _RIGHT)
        axes.set_xlim(_span([x for x, _ in drawn], margin=0.02, include=zero))
        axes.set_ylim(_span([y for _, y in drawn], include=zero))
        axes.grid(axis="y", color=INK["faint"], linewidth=1, clip_on=False)
        _ticks(axes.yaxis, 4)
        _ticks(axes.xaxis, 5, whole=whole_x)
        for one in series:
            _line(axes, one)
        _label(figure, x_label, (_LEFT + WIDTH - _RIGHT) / 2)
        middle = (_LINE_HEIGHT + _BOTTOM - _TOP) / 2 / _LINE_HEIGHT
        _text(figure, 11 / WIDTH, middle, y_label, rotation=90)
        return to_svg(figure, "chart", alt)


def _line(axes: Axes, series: Series) -> None:
    colour, kind = _colour(series.colour), _class(series.colour)
    pieces = list(_pieces(series))
    broken = [point for piece in pieces for point in (*piece, (math.nan, math.nan))]
    if any(len(piece) > 1 for piece in pieces):
        dash = _dash(series.dash)
        (line,) = axes.plot(*zip(*broken, strict=True), color=colour, linewidth=_STROKE, linestyle=dash, clip_on=False)
        told(line, f"line{kind}", series.label)
    dots = [point for piece in pieces if series.dots or len(piece) == 1 for point in piece]
    if dots:
        labels = (f"{series.label}: {y:.4g} at {x:g}" for x, y in dots)
        _marks(axes, dots, series.colour, labels, scale=0.6)


def _pieces(series: Series) -> Iterator[list[tuple[float, float]]]:
    """Each run of points between gaps."""
    piece: list[tuple[float, float]] = []
    for x, y in series.points:
        if y is not None and _is_drawable(x, y):
            piece.append((x, y))
        elif piece:
            yield piece
            piece = []
    if piece:
        yield piece


def dot_plot(rows: Sequence[Row], *, x_label: str, alt: str, reference: float | None = None) -> str:
    """One row per subject, its label above its marks; a dashed line at `reference`. Empty without a mark."""
    ends = (value for row in rows for mark in row.marks for value in (mark.value, mark.low, mark.high))
    values = [value for value in ends if value is not None and _is_drawable(value)]
    if not values:
        return ""
    height = _TOP + _ROW * len(rows) + _BOTTOM
    with style():
        figure = canvas(WIDTH, height)
        axes = _axes(figure, _SIDE, _SIDE)
        include = () if reference is None else (reference,)
        axes.set_xlim(_span([*values, *include], include=include))
        axes.set_ylim(_ROW * len(rows), 0)
        axes.set_yticks([])
        _ticks(axes.xaxis, 5)
        for index, row in enumerate(rows):
            _row(axes, row, _ROW * index, reference)
        _label(figure, x_label, WIDTH / 2)
        return to_svg(figure, "chart", alt)


def _row(axes: Axes, row: Row, top: float, reference: float | None) -> None:
    middle, across = top + 28, axes.get_yaxis_transform()
    for x, text, side, kind in ((0, row.label, "left", "name"), (1, row.text, "right", "value")):
        size, weight = (12.5, "bold") if kind == "name" else (12, "normal")
        shown = axes.text(
            x, top + 14, visible(text), transform=across, ha=side, size=size, weight=weight, color=INK["ink"]
        )
        told(shown, kind, "")
    axes.plot([0, 1], [middle, middle], transform=across, color=INK["faint"], linewidth=1, clip_on=False)
    if reference is not None:  # next to the marks only: through the row's name it would strike it out
        ends = [top + 20, top + _ROW]
        (zero,) = axes.plot([reference] * 2, ends, color=INK["soft"], linewidth=1, linestyle=(0, (4, 3)), clip_on=False)
        told(zero, "zero", "")
    step = min(6, 18 / max(1, len(row.marks)))
    for index, mark in enumerate(row.marks):
        _mark(axes, mark, middle + (step * (index - (len(row.marks) - 1) / 2) if row.apart else 0))


def _mark(axes: Axes, mark: Mark, y: float) -> None:
    if not _is_drawable(mark.value):
        return
    if mark.low is not None and mark.high is not None and _is_drawable(mark.low, mark.high):
        (bar,) = axes.plot(
            [mark.low, mark.high],
            [y, y],
            color=_colour(mark.colour),
            linewidth=_STROKE,
            marker="|",
            markersize=10,
            markeredgewidth=_STROKE,
            clip_on=False,
        )
        told(bar, f"line{_class(mark.colour)}", "")
    _marks(axes, [(mark.value, y)], mark.colour, [mark.label], hollow=mark.hollow)


def _marks(
    axes: Axes,
    points: Sequence[tuple[float, float]],
    colour: int | None,
    labels: Iterable[str],
    *,
    scale: float = 1.0,
    hollow: bool = False,
) -> None:
    """Circles, squares, triangles or diamonds in the colour of a loss."""
    shape, size = MARKERS[(colour or 0) % len(MARKERS)]
    face, edge = (INK["card"], _colour(colour)) if hollow else (_colour(colour), INK["card"])
    (marks,) = axes.plot(
        *zip(*points, strict=True),
        linestyle="",
        marker=shape,
        markersize=size * scale,
        markerfacecolor=face,
        markeredgecolor=edge,
        markeredgewidth=_STROKE if hollow else 1,
        clip_on=False,
    )
    told(marks, f"mark{_class(colour)}{' hollow' if hollow else ''}", *labels)


@functools.cache
def legend_key(colour: int | None, dash: int | None = None) -> str:
    """The little picture next to a name in a legend: the marker of a loss, or the line of a fold."""
    with style():
        figure = canvas(24, 16)
        axes = figure.add_axes((0, 0, 1, 1), xlim=(0, 24), ylim=(0, 16))
        axes.set_axis_off()
        if dash is None:
            _marks(axes, [(12, 8)], colour or 0, [""])
        else:
            axes.plot([0, 24], [8, 8], color=INK["soft"], linewidth=_STROKE, linestyle=_dash(dash), clip_on=False)
        return to_svg(figure, "key", "")


def _axes(figure: Canvas, left: float, right: float) -> Axes:
    """Axes between margins in pixels, with only a base line."""
    height = figure.get_figheight() * figure.dpi
    place = (left / WIDTH, _BOTTOM / height, (WIDTH - left - right) / WIDTH, (height - _TOP - _BOTTOM) / height)
    axes = figure.add_axes(place)
    axes.patch.set_visible(False)
    axes.set_axisbelow(True)
    for side in ("left", "right", "top"):
        axes.spines[side].set_visible(False)
    axes.tick_params(axis="y", length=0, pad=6)
    axes.tick_params(axis="x", length=4, pad=3)
    return axes


def _ticks(axis: Axis, most_steps: int, *, whole: bool = False) -> None:
    """Round values 1, 2 or 5 times a power of ten apart, written out."""
    axis.set_major_locator(MaxNLocator(most_steps, steps=[1, 2, 5, 10], integer=whole, min_n_ticks=1))
    written = ScalarFormatter(useOffset=False)
    written.set_scientific(False)
    axis.set_major_formatter(written)


def _label(figure: Canvas, text: str, x: float) -> None:
    """The name of the x axis, below it."""
    _text(figure, x / WIDTH, 6 / (figure.get_figheight() * figure.dpi), text)


def _text(figure: Canvas, x: float, y: float, text: str, rotation: float = 0) -> None:
    shown = figure.text(x, y, visible(text), ha="center", rotation=rotation, rotation_mode="anchor")
    told(shown, "axis", "")


def _span(values: Sequence[float], *, margin: float = 0.05, include: tuple[float, ...]) -> tuple[float, float]:
    """A range that holds all of `values` and of `include`, wider by the share `margin`; around a single value."""
    known = [*values, *include]
    low, high = min(known), max(known)
    room = (high - low) * margin or abs(high) * 0.1 or 0.5
    return low - (0 if low in include else room), high + (0 if high in include and high > low else room)


def _is_drawable(*values: float) -> bool:
    """Whether all of `values` have a place on a chart."""
    return all(math.isfinite(value) and abs(value) < _MOST for value in values)


def _colour(number: int | None) -> str:
    return INK["soft"] if number is None else INK[f"c{number % COLOURS}"]


def _class(number: int | None) -> str:
    """The class of a colour, after a space; none is grey."""
    return "" if number is None else f" c{number % COLOURS}"


def _dash(number: int) -> str | tuple[float, tuple[float, ...]]:
    lengths = tuple(length / _STROKE for length in DASHES[number % len(DASHES)])
    return (0, lengths) if lengths else "-"
