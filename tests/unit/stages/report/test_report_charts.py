"""Charts: well-formed, in scale, in the page's colours, and calm about what cannot be drawn."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.report.drawing.charts import WIDTH, Mark, Row, Series, dot_plot, legend_key, line_chart
from tests.unit.stages.report.drawn import inks, labels, lines, marks, of_kind, parse, texts, ticks

AXES = {"x_label": "epoch", "y_label": "loss", "alt": "a chart"}
HOSTILE = '</svg><script>alert("1")</script>& $x^2$'


def one(*points: tuple[float, float | None], **named: object) -> Series:
    return Series(label="a", points=points, **{"colour": 0, **named})


def test_a_line_is_in_scale() -> None:
    """Equal steps of the data are equal steps of the picture; more is higher."""
    chart = parse(line_chart([one((0, 0.0), (1, 1.0), (2, 2.0))], **AXES))
    (((((x0, y0), (x1, y1), (x2, y2)),)),) = lines(chart)
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.01)
    assert y0 - y1 == pytest.approx(y1 - y2, abs=0.01)
    assert y2 < y0
    assert 0 < x0 < x2 < WIDTH
    numbers = {text: x for text, x, y in ticks(chart) if y > y0}
    assert numbers["2.0"] == pytest.approx(x2, abs=0.01)


def test_nothing_to_draw_is_no_chart() -> None:
    """No series, no points, or none that is a number."""
    nothing = [(), ((1, None), (2, math.nan), (3, math.inf), (4, 1e301))]
    assert line_chart([], **AXES) == ""
    assert [line_chart([one(*points)], **AXES) for points in nothing] == ["", ""]
    assert dot_plot([], x_label="x", alt="") == ""
    assert dot_plot([Row(label="a", marks=(Mark(label="", value=math.nan, colour=0),))], x_label="x", alt="") == ""


def test_a_single_point_is_a_dot() -> None:
    """One epoch makes no line, but is seen, with whole numbers at its axis."""
    chart = parse(line_chart([one((1, 0.5))], **AXES, whole_x=True))
    assert (len(marks(chart)), lines(chart), labels(chart)) == (1, [], ["a: 0.5 at 1"])
    assert [text for text, _, y in ticks(chart) if y > 170] == ["1"]


def test_a_gap_interrupts_the_line() -> None:
    """NaN and None leave a hole; nothing is drawn across it. A point by itself is marked."""
    points = ((1, 1.0), (2, 2.0), (3, None), (4, 1.0), (5, math.nan), (6, 1.0), (7, 3.0))
    svg = line_chart([one(*points)], **AXES)
    (pieces,) = lines(parse(svg))
    assert [len(piece) for piece in pieces if len(piece) > 1] == [2, 2]
    assert labels(parse(svg)) == ["a", "a: 1 at 4"]
    assert "nan" not in svg


def test_an_interval_reaches_from_end_to_end() -> None:
    """The bar spans low to high with the mark between, and a reference line is at its value."""
    row = Row(label="a", marks=(Mark(label="a", value=0.5, colour=0, low=0.25, high=1.0),), text="0.5")
    chart = parse(dot_plot([row], x_label="x", alt="", reference=0.0))
    ((((low, _), (high, _)),),) = lines(chart)
    ((middle, _),) = marks(chart)
    (zero,) = of_kind(chart, "zero")
    at = float(next(zero.iter("path")).attrib["d"].split()[1])
    unit = (high - low) / 0.75
    assert middle == pytest.approx(low + 0.25 * unit, abs=0.01)
    assert at == pytest.approx(low - 0.25 * unit, abs=0.01)
    assert (texts(chart, "name"), texts(chart, "value"), texts(chart, "axis")) == (["a"], ["0.5"], ["x"])


def test_a_mark_without_an_interval_or_with_half_of_one_is_a_mark() -> None:
    """No bar is made up."""
    both = tuple(Mark(label="", value=0.5, colour=0, low=low, high=1.0) for low in (None, math.nan))
    chart = parse(dot_plot([Row(label="a", marks=both)], x_label="x", alt=""))
    assert (len(marks(chart)), lines(chart)) == (2, [])


def test_losses_differ_in_shape_and_folds_in_dash() -> None:
    """Nothing is told by colour alone."""
    four = tuple(Mark(label="", value=float(index), colour=index) for index in range(4))
    chart = parse(dot_plot([Row(label="a", marks=four)], x_label="x", alt=""))
    assert len({path.attrib["d"] for group in of_kind(chart, "mark") for path in group.iter("path")}) == 4
    folds = [one((0, 0.0), (1, 1.0), dash=fold) for fold in range(4)]
    drawn = of_kind(parse(line_chart(folds, **AXES)), "line")
    assert len({next(group.iter("path")).attrib["style"] for group in drawn}) == 4


def test_colours_are_the_page_s_own() -> None:
    """Every one is a variable of the page's style, so that a chart follows light, dark and print."""
    row = Row(label="a", marks=tuple(Mark(label="", value=1.0, colour=at, hollow=at == 1) for at in (0, 1, 7, None)))
    assert inks(dot_plot([row], x_label="x", alt="")) == {"ink", "soft", "card", "faint", "c0", "c1"}
    assert inks(line_chart([one((0, 0.0), (1, 1.0), colour=5)], **AXES)) == {"soft", "faint", "c5"}
    assert (inks(legend_key(3)), inks(legend_key(None, 1))) == ({"card", "c3"}, {"soft"})


def test_text_is_text_in_the_page_s_font() -> None:
    """A reader can search and copy it; nothing of it is a formula."""
    svg = line_chart([one((0, 0.0), (1, 1.0))], x_label="$a_1$", y_label="µm", alt="a chart")
    assert texts(parse(svg), "axis") == ["$a_1$", "µm"]
    assert "DejaVu" not in svg
    assert "<style" not in svg


def test_equal_values_make_equal_charts() -> None:
    """Bit for bit, so that a report that is written again is the same; charts of a page share no names."""
    svg = line_chart([one((0, 0.0), (1, 1.0), dots=True)], **AXES)
    other = line_chart([one((0, 0.0), (1, 1.0), dots=True)], **{**AXES, "alt": "another"})
    assert svg == line_chart([one((0, 0.0), (1, 1.0), dots=True)], **AXES)
    names = [{each.attrib["id"] for each in parse(one_of).iter() if "id" in each.attrib} for one_of in (svg, other)]
    assert names[0]
    assert not names[0] & names[1]


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=1, max_size=5))
def test_any_values_make_a_chart_or_none(values: list[float]) -> None:
    """What a training that broke down leaves is no reason to lose a report."""
    svg = line_chart([one(*enumerate(values), dots=True)], **AXES)
    count = sum(math.isfinite(value) and abs(value) < 1e300 for value in values)
    assert (len(marks(parse(svg))) if svg else 0) == count


def test_hostile_names_are_text() -> None:
    """Whatever a loss or a volume is called, it is neither markup, nor an attribute, nor a formula."""
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
        assert HOSTILE in "".join(labels(chart))
