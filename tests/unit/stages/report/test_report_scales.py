"""Places, ranges and ticks."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.report.drawing.scales import Scale, drawable, finite, label_ticks, span, ticks

VALUES = st.floats(min_value=-1e6, max_value=1e6, allow_nan=False)


def test_a_scale_maps_its_ends_and_its_middle() -> None:
    """Linear, also upside down, as y axes are."""
    to_y = Scale(low=0, high=10, start=200, end=0)
    assert (to_y(0), to_y(5), to_y(10)) == (200, 100, 0)


@given(st.lists(VALUES, min_size=1, max_size=8))
def test_a_span_holds_every_value_and_has_a_width(values: list[float]) -> None:
    """Also for one value, or many equal ones."""
    low, high = span(values)
    assert low < high
    assert low <= min(values)
    assert max(values) <= high


def test_a_span_of_nothing_or_of_nan_is_still_one() -> None:
    """Nothing that can be drawn: 0 to 1."""
    assert span([]) == span([None, math.nan, math.inf]) == (0.0, 1.0)
    assert span([5.0], include=(0.0,))[0] == 0.0


@given(VALUES, st.floats(min_value=1e-6, max_value=1e6), st.integers(2, 8), st.booleans())
def test_ticks_are_round_even_and_inside(low: float, width: float, most: int, whole: bool) -> None:
    """Never more than asked, evenly apart, within the range; whole if asked."""
    high = low + width
    if high <= low or width < abs(low) * 1e-6:
        return
    found = ticks(low, high, most, whole=whole)
    assert len(found) <= most
    steps = [after - before for before, after in itertools.pairwise(found)]
    assert all(step == pytest.approx(steps[0], rel=1e-3) for step in steps)
    assert all(low - width * 1e-3 <= value <= high + width * 1e-3 for value in found)
    if whole:
        assert all(value == pytest.approx(round(value)) for value in found)


@pytest.mark.parametrize(
    ("low", "high", "whole", "expected"),
    [
        (0, 1, False, ("0.0", "0.5", "1.0")),
        (0.62, 0.74, False, ("0.65", "0.70")),
        (1, 6, True, ("2", "4", "6")),
        (1, 2, True, ("1", "2")),
        (-0.03, 0.001, False, ("−0.03", "−0.02", "−0.01", "0.00")),
        (0, 1200, False, ("0", "500", "1000")),
        (0.9, 1.1, True, ("1",)),  # one epoch
        (0.1, 0.9, True, ()),
    ],
)
def test_ticks_by_hand(low: float, high: float, whole: bool, expected: tuple[str, ...]) -> None:
    """The labels that a person would write."""
    assert label_ticks(ticks(low, high, 4, whole=whole)) == expected


@pytest.mark.parametrize(("low", "high"), [(1, 1), (2, 1), (math.nan, 1), (0, math.inf)])
def test_no_ticks_without_a_range(low: float, high: float) -> None:
    """Nothing to mark, and no endless loop."""
    assert ticks(low, high) == ()


def test_what_can_be_drawn() -> None:
    """Numbers, and nothing else."""
    assert finite([1.0, None, math.nan, -math.inf, 2.0]) == [1.0, 2.0]
    assert drawable(1.0, 2.0)
    assert not drawable(1.0, None)
    assert not drawable(math.nan)
