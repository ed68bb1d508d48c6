"""Charts as inline SVG, by pure functions. Colours are CSS variables, so that a chart follows the page's light or dark.

Everything is drawn in pixels of a 360 wide picture, so that its text stays legible on a phone. A colour is never alone:
a loss has a colour and a marker, a fold a dash.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape as as_html

from stages.common.text import visible
from stages.report.drawing.scales import Scale, drawable, finite, label_ticks, span, ticks

WIDTH = 360
COLOURS = 6
MARKERS = 4
DASHES = ("", "6 3", "2 3", "8 3 2 3", "12 4", "1 4")
_LINE_HEIGHT = 200
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 10, 10, 38
_ROW = 40  # height of a row of a dot plot: a line of text over a line of marks


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
    """Lines over common axes, `from_zero` both; without a single point that can be drawn the empty string."""
    drawn = [(x, y) for one in series for x, y in one.points if drawable(x, y)]
    if not drawn:
        return ""
    xs, ys = [x for x, _ in drawn], [float(y) for _, y in drawn if y is not None]
    x_low, x_high = span(xs, margin=0.02, include=(0.0,) if from_zero else ())
    y_low, y_high = span(ys, include=(0.0,) if from_zero else ())
    to_x = Scale(low=x_low, high=x_high, start=_LEFT, end=WIDTH - _RIGHT)
    to_y = Scale(low=y_low, high=y_high, start=_LINE_HEIGHT - _BOTTOM, end=_TOP)
    parts = [
        *_y_axis(to_y, y_label),
        *_x_axis(to_x, x_label, _LINE_HEIGHT, whole=whole_x),
        *(piece for one in series for piece in _line(one, to_x, to_y)),
    ]
    return _svg(_LINE_HEIGHT, alt, parts)


def _line(series: Series, to_x: Scale, to_y: Scale) -> Iterator[str]:
    style = f'class="line{_colour(series.colour)}"'
    dash = DASHES[series.dash % len(DASHES)]
    for piece in _pieces(series):
        places = [(to_x(x), to_y(y)) for x, y in piece]
        if len(places) > 1:
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
            dashed = f' stroke-dasharray="{dash}"' if dash else ""
            yield f'<polyline {style}{dashed} points="{path}"><title>{_text(series.label)}</title></polyline>'
        if series.dots or len(places) == 1:
            for (x, y), (value_x, value_y) in zip(places, piece, strict=True):
                yield marker(x, y, series.colour, f"{series.label}: {value_y:.4g} at {value_x:g}", size=3)


def _pieces(series: Series) -> Iterator[list[tuple[float, float]]]:
    """The runs of points that can be drawn."""
    piece: list[tuple[float, float]] = []
    for x, y in series.points:
        if y is not None and drawable(x, y):
            piece.append((x, y))
        elif piece:
            yield piece
            piece = []
    if piece:
        yield piece


def dot_plot(
    rows: Sequence[Row], *, x_label: str, alt: str, reference: float | None = None, limits: tuple[float, ...] = ()
) -> str:
    """A row a subject, its label above its marks; a dashed line at `reference`. Empty without a mark.

    `limits` are values that the axis reaches to in any case.
    """
    values = [value for row in rows for mark in row.marks for value in (mark.value, mark.low, mark.high)]
    if not finite(values):
        return ""
    include = (*limits, *(() if reference is None else (reference,)))
    low, high = span([*values, *include])
    to_x = Scale(low=low, high=high, start=12, end=WIDTH - 12)
    height = _TOP + _ROW * len(rows) + _BOTTOM
    parts = list(_x_axis(to_x, x_label, height))
    for index, row in enumerate(rows):
        top = _TOP + _ROW * index
        if reference is not None:
            x = to_x(reference)  # next to the marks only: through the row's name it would strike it out
            parts.append(f'<line class="zero" x1="{x:.1f}" x2="{x:.1f}" y1="{top + 20}" y2="{top + _ROW}"/>')
        parts += _row(row, top, to_x)
    return _svg(height, alt, parts)


def _row(row: Row, top: float, to_x: Scale) -> Iterator[str]:
    middle = top + 28
    yield f'<text class="name" x="12" y="{top + 14:.0f}">{_text(row.label)}</text>'
    if row.text:
        yield f'<text class="value" x="{WIDTH - 12}" y="{top + 14:.0f}" text-anchor="end">{_text(row.text)}</text>'
    yield f'<line class="grid" x1="12" x2="{WIDTH - 12}" y1="{middle:.0f}" y2="{middle:.0f}"/>'
    for index, mark in enumerate(row.marks):
        if not drawable(mark.value):
            continue
        step = min(6, 18 / len(row.marks))
        y = middle + (step * (index - (len(row.marks) - 1) / 2) if row.apart else 0)
        if mark.low is not None and mark.high is not None and drawable(mark.low, mark.high):
            yield from _interval(mark, to_x(mark.low), to_x(mark.high), y)
        yield marker(to_x(mark.value), y, mark.colour, mark.label, hollow=mark.hollow)


def _interval(mark: Mark, start: float, end: float, y: float) -> Iterator[str]:
    style = f'class="line{_colour(mark.colour)}"'
    yield f'<line {style} x1="{start:.1f}" x2="{end:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
    for x in (start, end):
        yield f'<line {style} x1="{x:.1f}" x2="{x:.1f}" y1="{y - 5:.0f}" y2="{y + 5:.0f}"/>'


def _colour(number: int | None) -> str:
    """The class of a colour, after a space; none is grey."""
    return "" if number is None else f" c{number % COLOURS}"


def marker(x: float, y: float, colour: int | None, label: str, *, size: float = 5, hollow: bool = False) -> str:
    """Circle, square, triangle or diamond in the colour of a loss."""
    style = f'class="mark{_colour(colour)}{" hollow" if hollow else ""}"'
    title = f"<title>{_text(label)}</title>"
    match (colour or 0) % MARKERS:
        case 0:
            return f'<circle {style} cx="{x:.1f}" cy="{y:.1f}" r="{size}">{title}</circle>'
        case 1:
            corners = [(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)]
        case 2:
            corners = [(0, -1.2), (1.1, 0.9), (-1.1, 0.9)]
        case _:
            corners = [(0, -1.3), (1.3, 0), (0, 1.3), (-1.3, 0)]
    points = " ".join(f"{x + size * right:.1f},{y + size * down:.1f}" for right, down in corners)
    return f'<polygon {style} points="{points}">{title}</polygon>'


def legend_key(colour: int | None, dash: int | None = None) -> str:
    """The little picture next to a name in a legend: the marker of a loss, or the line of a fold."""
    if dash is None:
        inner = marker(12, 8, colour or 0, "")
    else:
        style = f' stroke-dasharray="{DASHES[dash % len(DASHES)]}"' if DASHES[dash % len(DASHES)] else ""
        inner = f'<line class="line" x1="0" x2="24" y1="8" y2="8"{style}/>'
    return f'<svg class="key" viewBox="0 0 24 16" aria-hidden="true">{inner}</svg>'


def _y_axis(to_y: Scale, label: str) -> Iterator[str]:
    values = ticks(to_y.low, to_y.high)
    for value, text in zip(values, label_ticks(values), strict=True):
        y = to_y(value)
        yield f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text class="tick" x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{text}</text>'
    middle = (to_y.start + to_y.end) / 2
    place = f'transform="translate(11 {middle:.0f}) rotate(-90)"'
    yield f'<text class="axis" {place} text-anchor="middle">{_text(label)}</text>'


def _x_axis(to_x: Scale, label: str, height: float, *, whole: bool = False) -> Iterator[str]:
    base = height - _BOTTOM
    yield f'<line class="base" x1="{to_x.start}" x2="{to_x.end}" y1="{base}" y2="{base}"/>'
    values = ticks(to_x.low, to_x.high, 6, whole=whole)
    for value, text in zip(values, label_ticks(values), strict=True):
        x = to_x(value)
        yield f'<line class="base" x1="{x:.1f}" x2="{x:.1f}" y1="{base}" y2="{base + 4}"/>'
        yield f'<text class="tick" x="{x:.1f}" y="{base + 16}" text-anchor="middle">{text}</text>'
    middle = (to_x.start + to_x.end) / 2
    yield f'<text class="axis" x="{middle:.0f}" y="{height - 6}" text-anchor="middle">{_text(label)}</text>'


def _svg(height: float, alt: str, parts: Sequence[str]) -> str:
    head = f'<svg class="chart" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{_text(alt)}">'
    return "".join([head, *parts, "</svg>"])


def _text(text: str) -> str:
    """`text` as it may be in the markup: visible, and no markup itself."""
    return as_html(visible(text))
