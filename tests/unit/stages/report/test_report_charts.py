"""Charts: well-formed, in scale, and calm about what cannot be drawn."""

import math
from xml.etree import ElementTree

import pytest

from stages.report.drawing.charts import WIDTH, Mark, Row, Series, dot_plot, line_chart

AXES = {"x_label": "epoch", "y_label": "loss", "alt": "a chart"}
HOSTILE = '</svg><script>alert("1")</script>&'


def parse(svg: str) -> ElementTree.Element:
    """The picture as XML; fails when it is not well-formed."""
    return ElementTree.fromstring(svg)


def places(line: ElementTree.Element) -> list[tuple[float, float]]:
    pairs = (pair.split(",") for pair in line.attrib["points"].split())
    return [(float(x), float(y)) for x, y in pairs]


def test_a_line_is_in_scale() -> None:
    """Equal steps of the data are equal steps of the picture; more is higher."""
    series = Series(label="a", points=((0, 0.0), (1, 1.0), (2, 2.0)), colour=0)
    (line,) = parse(line_chart([series], **AXES)).iter("polyline")
    (x0, y0), (x1, y1), (x2, y2) = places(line)
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.11)
    assert y0 - y1 == pytest.approx(y1 - y2, abs=0.11)
    assert y2 < y0
    assert 0 < x0 < x2 < WIDTH


def test_nothing_to_draw_is_no_chart() -> None:
    """No series, no points, or none that is a number."""
    nothing = [(), ((1, None), (2, math.nan), (3, math.inf))]
    assert line_chart([], **AXES) == ""
    assert [line_chart([Series(label="a", points=points, colour=0)], **AXES) for points in nothing] == ["", ""]
    assert dot_plot([], x_label="x", alt="") == ""
    assert dot_plot([Row(label="a", marks=(Mark(label="", value=math.nan, colour=0),))], x_label="x", alt="") == ""


def test_a_single_point_is_a_dot() -> None:
    """One epoch makes no line, but is seen."""
    chart = parse(line_chart([Series(label="a", points=((1, 0.5),), colour=0)], **AXES))
    assert len(list(chart.iter("circle"))) == 1
    assert not list(chart.iter("polyline"))


def test_a_gap_interrupts_the_line() -> None:
    """NaN and None leave a hole; nothing is drawn across it."""
    points = ((1, 1.0), (2, 2.0), (3, None), (4, 1.0), (5, math.nan), (6, 1.0), (7, 3.0))
    chart = parse(line_chart([Series(label="a", points=points, colour=1)], **AXES))
    assert [len(places(line)) for line in chart.iter("polyline")] == [2, 2]
    assert len(list(chart.iter("polygon"))) == 1  # the lonely point, as a square
    assert "nan" not in line_chart([Series(label="a", points=points, colour=1)], **AXES)


def test_an_interval_reaches_from_end_to_end() -> None:
    """The bar spans low to high with the mark between, and a reference line is at its value."""
    mark = Mark(label="a", value=0.5, colour=0, low=0.25, high=1.0)
    row = Row(label="a", marks=(mark,), text="0.5")
    chart = parse(dot_plot([row], x_label="x", alt="", reference=0.0))
    bar = next(line for line in chart.iter("line") if line.attrib["class"] == "line c0" and _long(line))
    (circle,) = chart.iter("circle")
    zero = next(line for line in chart.iter("line") if line.attrib["class"] == "zero")
    low, high = float(bar.attrib["x1"]), float(bar.attrib["x2"])
    pixels_a_unit = (high - low) / 0.75
    assert float(circle.attrib["cx"]) == pytest.approx(low + 0.25 * pixels_a_unit, abs=0.2)
    assert float(zero.attrib["x1"]) == pytest.approx(low - 0.25 * pixels_a_unit, abs=0.2)


def _long(line: ElementTree.Element) -> bool:
    return line.attrib["x1"] != line.attrib["x2"]


def test_a_mark_without_an_interval_or_with_half_of_one_is_a_mark() -> None:
    """No bar is made up."""
    marks = tuple(Mark(label="", value=0.5, colour=0, low=low, high=1.0) for low in (None, math.nan))
    chart = parse(dot_plot([Row(label="a", marks=marks)], x_label="x", alt=""))
    assert len(list(chart.iter("circle"))) == 2
    assert not [line for line in chart.iter("line") if line.attrib["class"].startswith("line")]


def test_losses_differ_in_shape_and_folds_in_dash() -> None:
    """Nothing is told by colour alone."""
    marks = tuple(Mark(label="", value=float(index), colour=index) for index in range(4))
    chart = parse(dot_plot([Row(label="a", marks=marks)], x_label="x", alt=""))
    corners = [len(shape.attrib["points"].split()) for shape in chart.iter("polygon")]
    assert (len(list(chart.iter("circle"))), sorted(corners)) == (1, [3, 4, 4])
    lines = [Series(label="", points=((0, 0.0), (1, 1.0)), colour=0, dash=fold) for fold in range(4)]
    dashes = [line.attrib.get("stroke-dasharray") for line in parse(line_chart(lines, **AXES)).iter("polyline")]
    assert len(set(dashes)) == 4


def test_hostile_names_are_text() -> None:
    """Whatever a loss or a volume is called, it is neither markup nor an attribute."""
    line = line_chart(
        [Series(label=HOSTILE, points=((0, 0.0), (1, 1.0)), colour=0, dots=True)],
        x_label=HOSTILE,
        y_label=HOSTILE,
        alt=HOSTILE,
    )
    dots = dot_plot(
        [Row(label=HOSTILE, marks=(Mark(label=HOSTILE, value=1.0, colour=0),), text=HOSTILE)],
        x_label=HOSTILE,
        alt=HOSTILE,
    )
    for svg in (line, dots):
        chart = parse(svg)
        assert not list(chart.iter("script"))
        assert chart.attrib["aria-label"] == HOSTILE
        assert HOSTILE in [text.text for text in chart.iter("text")]
