"""Spacing from what a header says: units, and when they are not believed."""

import pytest

from stages.common.imaging.formats.header import SpacingEvidence, StackHeader, micrometres, number
from stages.common.imaging.spacing import disagreement, is_sane, spacing_of
from stages.common.imaging.zyx import Spacing


def _header(numbers: Spacing | None, unit: str, source: str = "NIfTI sform") -> StackHeader:
    evidence = SpacingEvidence(numbers_zyx=numbers, units_zyx=(unit, unit, unit), source=source)
    return StackHeader(axes="ZYX", spacing=evidence)


@pytest.mark.parametrize("source", ["NIfTI sform", "OME PhysicalSize"])
@pytest.mark.parametrize(
    ("numbers", "unit", "spacing_um", "warned"),
    [
        ((0.005, 0.001, 0.001), "mm", (5.0, 1.0, 1.0), False),
        ((5.0, 1.0, 1.0), "micron", (5.0, 1.0, 1.0), False),
        ((5e-6, 1e-6, 1e-6), "meter", (5.0, 1.0, 1.0), False),
        # MiniVess: µm under another unit
        ((5.0, 0.31, 0.31), "mm", (5.0, 0.31, 0.31), True),
    ],
)
def test_unit_decides_unless_it_is_absurd(
    numbers: Spacing, unit: str, spacing_um: Spacing, warned: bool, source: str
) -> None:
    """mm counts a thousandfold; numbers that are sane only as µm are taken as µm, with a warning that shows them."""
    told = spacing_of(_header(numbers, unit, source))
    assert told.spacing_um == spacing_um
    assert told.source == source
    assert bool(told.warnings) is warned
    if warned:
        assert told.warnings[0].startswith(f"the header's unit is {unit}; its numbers 5 × 0.31 × 0.31 are taken as µm")


@pytest.mark.parametrize(
    ("numbers", "unit", "spacing_um"),
    [
        # no finer than a light microscope resolves, no coarser than one looks at vessels: mm above it are µm
        ((0.07, 0.07, 0.07), "mm", (0.07, 0.07, 0.07)),
        ((0.051, 0.05, 0.051), "mm", (0.051, 0.05, 0.051)),
        ((0.1, 0.05, 0.05), "mm", (100.0, 50.0, 50.0)),
        ((0.025, 0.025, 0.025), "mm", (25.0, 25.0, 25.0)),
        # without a unit the same, by the format's habit mm
        ((5.0, 0.31, 0.31), "unknown", (5.0, 0.31, 0.31)),
        ((0.07, 0.07, 0.07), "unknown", (0.07, 0.07, 0.07)),
        ((0.025, 0.025, 0.025), "unknown", (25.0, 25.0, 25.0)),
        ((0.005, 0.001, 0.001), "unknown", (5.0, 1.0, 1.0)),
    ],
)
def test_millimetres_of_a_nifti_are_doubted(numbers: Spacing, unit: str, spacing_um: Spacing) -> None:
    """SimpleITK writes mm whatever the numbers mean. The warning shows both readings and what overrides them."""
    told = spacing_of(_header(numbers, unit))
    assert told.spacing_um == spacing_um
    is_plain = unit == "mm" and spacing_um != numbers
    assert bool(told.warnings) is not is_plain
    assert is_plain or "--spacing-um" in told.warnings[0]


def test_millimetres_of_another_format_are_not_doubted() -> None:
    """OME's unit is given on purpose."""
    assert spacing_of(_header((0.07, 0.07, 0.07), "mm", "OME PhysicalSize")).spacing_um == (70.0, 70.0, 70.0)


@pytest.mark.parametrize(
    ("numbers", "unit", "says"),
    [
        (None, "unknown", "no spacing"),
        ((0.0, 1.0, 1.0), "micron", "the header's spacing 0 × 1 × 1 micron is outside 0.01 to 100 µm"),
        ((500.0, 1.0, 1.0), "mm", "500 × 1 × 1 mm is outside"),
        ((-1.0, 1, 1), "mm", "-1 × 1 × 1 mm is outside"),
        # of an electron microscope, and of a printer's 72 dpi
        ((5.0, 0.9, 0.9), "nm", "5 × 0.9 × 0.9 nm is outside"),
        ((5.0, 0.0139, 0.0139), "inch", "5 × 0.0139 × 0.0139 inch is outside"),
        ((5.0, 0.9, 0.9), "cm", "5 × 0.9 × 0.9 cm is outside"),
    ],
)
def test_header_without_a_possible_spacing_gives_a_reason(numbers: Spacing | None, unit: str, says: str) -> None:
    """When neither reading is possible there is no spacing, but a reason."""
    told = spacing_of(_header(numbers, unit))
    assert (told.spacing_um, told.source) == (None, "")
    assert says in told.reason


def test_mixed_units_are_never_taken_as_they_are() -> None:
    """Bare numbers of unlike units mean nothing together."""
    evidence = SpacingEvidence(numbers_zyx=(5.0, 1.0, 1.0), units_zyx=("mm", "µm", "µm"), source="ImageJ calibration")
    told = spacing_of(StackHeader(axes="ZYX", spacing=evidence))
    assert told.spacing_um is None
    assert "5 mm × 1 µm × 1 µm is outside" in told.reason


def test_remarks_of_the_header_come_first() -> None:
    """What was odd about the numbers, then what was decided about their unit."""
    evidence = SpacingEvidence(
        numbers_zyx=(5.0, 1.0, 1.0), units_zyx=("mm",) * 3, source="NIfTI sform", remarks=("an oddity",)
    )
    warnings = spacing_of(StackHeader(axes="ZYX", spacing=evidence)).warnings
    assert warnings[0] == "an oddity"
    assert "taken as µm" in warnings[1]


@pytest.mark.parametrize(
    ("unit", "um"),
    [
        (" Micron ", 1.0),
        ("µm", 1.0),
        ("μm", 1.0),
        ("㎛", 1.0),
        ("Å", 1e-4),
        ("INCH", 25_400.0),
        ("pixel", None),
        ("", None),
    ],
)
def test_units_are_known_however_they_are_written(unit: str, um: float | None) -> None:
    """Both signs for µ, large letters, blanks around."""
    assert micrometres(unit) == um


@pytest.mark.parametrize(
    ("value", "expected"), [("5.0", 5.0), (5, 5.0), ("nan", None), ("inf", None), ("", None), (None, None)]
)
def test_a_number_is_finite(value: object, expected: float | None) -> None:
    """Anything else is none."""
    assert number(value) == expected


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
    warning = disagreement((5.0, 1.0, 1.0), _header((2.0, 1.0, 1.0), "micron"))
    assert warning == (
        "dataset.csv says 5 × 1 × 1 µm, the image's header 2 × 1 × 1 µm (NIfTI sform); the table is used"
    )
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
