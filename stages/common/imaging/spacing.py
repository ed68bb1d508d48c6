"""Which spacing a volume has, in µm, by what its header says; and whether it can be true."""

from dataclasses import dataclass

from stages.common.imaging.formats.header import SpacingEvidence, StackHeader, micrometres, precise
from stages.common.imaging.zyx import PartialSpacing, Spacing

MIN_UM = 0.01
MAX_UM = 100.0
_TOLERANCE = 0.05  # relative: tables round
# A file in mm with coarser pixels than this more likely holds µm: SimpleITK writes mm whatever the numbers mean, and
# the numbers themselves are then 0.05 or more, which a light microscope can have.
_MAX_IN_PLANE_UM = 50.0
# formats whose programs mean mm where they say nothing
_MM_BY_HABIT = ("NIfTI", "NRRD", "MetaImage")
# units that programs write whatever the numbers mean: mm, and NIfTI's metre. Nobody writes nm, cm or inch by habit
_WRITTEN_BY_HABIT = (1e3, 1e6)
_OVERRIDE = "a spacing in dataset.csv, or --spacing-um, takes precedence"


@dataclass(frozen=True, kw_only=True)
class HeaderSpacing:
    """The spacing (z, y, x) in µm by a header, the field it is from, and doubts in words; or the reason for none."""

    spacing_um: Spacing | None
    source: str
    warnings: tuple[str, ...]
    reason: str = ""


def is_sane(spacing_um: Spacing) -> bool:
    """Whether a light microscope can have this spacing (z, y, x)."""
    return all(MIN_UM <= value <= MAX_UM for value in spacing_um)


def spacing_of(header: StackHeader) -> HeaderSpacing:
    """The spacing in µm by the header, with its evidence.

    Millimetres or metres that make the spacing absurd are not believed when the bare numbers are sane in µm: MiniVess
    and many other sets carry µm in headers whose unit field says millimetres or nothing.
    """
    evidence = header.spacing
    numbers = evidence.numbers_zyx
    if numbers is None:
        return HeaderSpacing(spacing_um=None, source="", warnings=evidence.remarks, reason=evidence.missing)
    spacing_um, doubt = _reading(evidence, numbers)
    if spacing_um is None:
        fault = f"outside {MIN_UM:g} to {MAX_UM:g} µm" if _declared(evidence) else "in no unit of length"
        reason = f"the header's spacing {_numbers(evidence)} is {fault}"
        return HeaderSpacing(spacing_um=None, source="", warnings=evidence.remarks, reason=reason)
    warnings = (*evidence.remarks, doubt) if doubt else evidence.remarks
    return HeaderSpacing(spacing_um=spacing_um, source=evidence.source, warnings=warnings)


def _reading(evidence: SpacingEvidence, numbers: Spacing) -> tuple[Spacing | None, str]:
    """The numbers in µm, as their units have it or as they are, and a doubt in words."""
    unit, is_by_habit = evidence.units_zyx[0], evidence.source.startswith(_MM_BY_HABIT)
    declared = _declared(evidence)
    if declared is None:
        return None, ""
    if is_sane(declared) and not (is_by_habit and _is_coarse_mm(declared, unit)):
        doubt = f"the header has no unit; its numbers {show(numbers)} are taken as mm; {_OVERRIDE}"
        return _rounded(declared), doubt if unit == "unknown" else ""
    may_be_wrong = unit == "unknown" or micrometres(unit) in _WRITTEN_BY_HABIT
    if may_be_wrong and len(set(evidence.units_zyx)) == 1 and is_sane(numbers):
        otherwise = f"not as {'mm' if unit == 'unknown' else unit}, which would be {show(declared)} µm"
        doubt = f"the header's unit is {unit}; its numbers {show(numbers)} are taken as µm, {otherwise}; {_OVERRIDE}"
        return numbers, doubt
    return None, ""


def _declared(evidence: SpacingEvidence) -> Spacing | None:
    """The numbers in µm by their units; a NIfTI, NRRD or MetaImage without a unit is in mm by habit."""
    if (
        evidence.numbers_zyx is not None
        and evidence.source.startswith(_MM_BY_HABIT)
        and "unknown" in evidence.units_zyx
    ):
        z, y, x = (number * 1e3 for number in evidence.numbers_zyx)
        return z, y, x
    return evidence.declared_um


def _is_coarse_mm(declared: Spacing, unit: str) -> bool:
    return unit in ("mm", "unknown") and max(declared[1:]) > _MAX_IN_PLANE_UM


def _rounded(spacing_um: Spacing) -> Spacing:
    """Without the last digits that a conversion leaves: 0.9 rather than 0.899999978."""
    z, y, x = (precise(value) for value in spacing_um)
    return z, y, x


def _numbers(evidence: SpacingEvidence) -> str:
    units = evidence.units_zyx
    numbers = evidence.numbers_zyx or ()
    if len(set(units)) == 1:
        return f"{' × '.join(f'{each:g}' for each in numbers)} {units[0]}"
    return " × ".join(f"{each:g} {unit}" for each, unit in zip(numbers, units, strict=True))


def disagreement(spacing_um: Spacing, header: StackHeader) -> str:
    """A warning when the header says clearly another spacing than the table, else nothing."""
    told = spacing_of(header)
    if told.spacing_um is None or not other_spacing(spacing_um, told.spacing_um):
        return ""
    found = f"{show(told.spacing_um)} µm ({told.source})"
    return f"dataset.csv says {show(spacing_um)} µm, the image's header {found}; the table is used"


def doubt_of_given(given_um: Spacing, header_um: Spacing | None) -> str:
    """A remark on a spacing typed by a person (z, y, x; µm) in which x alone is coarser, as z is in most stacks.

    None, "", where the header says the same.
    """
    z, y, x = given_um
    if x <= y * (1 + _TOLERANCE) or abs(z - y) > _TOLERANCE * max(z, y):
        return ""
    if header_um is not None and not other_spacing(given_um, header_um):
        return ""
    return f"in the given spacing {show(given_um)} µm (z × y × x), x alone is coarser; was it given as x, y, z?"


def filled(given_um: PartialSpacing, header_um: Spacing) -> Spacing:
    """`given_um` (z, y, x; µm), with the header's value on each axis where it is None."""
    z, y, x = (header if given is None else given for given, header in zip(given_um, header_um, strict=True))
    return z, y, x


def other_spacing(one_um: Spacing, other_um: Spacing) -> bool:
    """Whether the two are not the same rounded."""
    return any(abs(a - b) > _TOLERANCE * max(a, b) for a, b in zip(one_um, other_um, strict=True))


def show(spacing: Spacing) -> str:
    """z × y × x."""
    return " × ".join(f"{value:g}" for value in spacing)
