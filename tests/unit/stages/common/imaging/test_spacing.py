"""Spacing from headers: units, and when they are not believed."""

import pytest

from stages.common.imaging.spacing import disagreement, is_sane, spacing_from
from stages.common.imaging.stacks import StackHeader


def _header(numbers: tuple[float, float, float] | None, unit: str) -> StackHeader:
    return StackHeader(axes="ZYX", spacing_zyx=numbers, unit=unit)


@pytest.mark.parametrize(
    ("numbers", "unit", "spacing_um", "warned"),
    [
        ((0.005, 0.001, 0.001), "mm", (5.0, 1.0, 1.0), False),
        ((5.0, 1.0, 1.0), "micron", (5.0, 1.0, 1.0), False),
        ((5e-6, 1e-6, 1e-6), "meter", (5.0, 1.0, 1.0), False),
        # MiniVess: µm under another unit
        ((5.0, 0.31, 0.31), "mm", (5.0, 0.31, 0.31), True),
        ((5.0, 0.31, 0.31), "unknown", (5.0, 0.31, 0.31), True),
    ],
)
def test_unit_decides_unless_it_is_absurd(
    numbers: tuple[float, float, float], unit: str, spacing_um: tuple[float, float, float], warned: bool
) -> None:
    """mm counts a thousandfold; numbers that are sane only as µm are taken as µm, with a warning that shows them."""
    told, remark = spacing_from(_header(numbers, unit))
    assert told == pytest.approx(spacing_um)
    assert bool(remark) is warned
    if warned:
        assert unit in remark


@pytest.mark.parametrize(
    ("numbers", "unit"),
    [(None, "unknown"), ((0.0, 1.0, 1.0), "micron"), ((500.0, 1.0, 1.0), "mm"), ((-1.0, 1, 1), "mm")],
)
def test_header_without_a_possible_spacing_gives_a_reason(
    numbers: tuple[float, float, float] | None, unit: str
) -> None:
    """When neither reading is possible there is no spacing, but a reason."""
    told, reason = spacing_from(_header(numbers, unit))
    assert told is None
    assert "spacing" in reason


@pytest.mark.parametrize(
    ("value", "sane"), [(0.01, True), (100.0, True), (0.009, False), (101.0, False), (-1.0, False)]
)
def test_sane_is_what_a_light_microscope_can_have(value: float, sane: bool) -> None:
    """0.01 to 100 µm, on every axis."""
    assert is_sane((1.0, value, 1.0)) is sane


def test_nan_spacing_is_not_sane() -> None:
    """NaN compares false with everything, and must not pass for it."""
    assert not is_sane((1.0, float("nan"), 1.0))


def test_table_and_header_are_compared() -> None:
    """A clear difference is a warning, a rounded number or a silent header is none."""
    assert "table counts" in disagreement((5.0, 1.0, 1.0), _header((2.0, 1.0, 1.0), "micron"))
    assert disagreement((5.0, 0.99, 1.0), _header((5.0, 1.0, 1.0), "micron")) == ""
    assert disagreement((5.0, 1.0, 1.0), _header(None, "unknown")) == ""


def test_a_twentieth_of_the_larger_spacing_is_rounding() -> None:
    """A difference of exactly 5% passes without a warning, in either direction."""
    assert disagreement((4.75, 1.0, 1.0), _header((5.0, 1.0, 1.0), "micron")) == ""
    assert disagreement((5.0, 1.0, 1.0), _header((4.75, 1.0, 1.0), "micron")) == ""


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_difference_of_more_than_a_twentieth_is_a_warning(axis: int) -> None:
    """On any axis, in either direction; the warning shows both spacings."""
    table = [5.0, 1.0, 0.5]
    for factor, told in ((1.06, True), (1.04, False), (0.96, False), (0.94, True)):
        numbers = [size * factor if each == axis else size for each, size in enumerate(table)]
        warning = disagreement((5.0, 1.0, 0.5), _header((numbers[0], numbers[1], numbers[2]), "micron"))
        assert bool(warning) is told
        assert not told or ("5 × 1 × 0.5" in warning and f"{numbers[axis]:g}" in warning)
