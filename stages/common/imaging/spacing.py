"""Which spacing a volume has, in µm, and whether it can be true."""

from stages.common.imaging.stacks import StackHeader

Spacing = tuple[float, float, float]

MIN_UM = 0.01
MAX_UM = 100.0
_TOLERANCE = 0.05  # relative: tables round


def is_sane(spacing_um: Spacing) -> bool:
    """Whether a light microscope can have this spacing (z, y, x)."""
    return all(MIN_UM <= value <= MAX_UM for value in spacing_um)


def spacing_from(header: StackHeader) -> tuple[Spacing | None, str]:
    """The spacing in µm by the header, and what to tell the user: a warning, or the reason when there is none.

    A unit that makes the spacing absurd is not believed when the bare numbers are sane in µm: MiniVess and many other
    sets carry µm in headers whose unit field says millimetres or nothing.
    """
    bare, spacing_um = header.spacing_zyx, header.spacing_um
    if bare is None:
        return None, "the header of the image gives no spacing"
    if spacing_um is not None and is_sane(spacing_um):
        return spacing_um, ""
    if is_sane(bare):
        return bare, f"the header's unit is {header.unit}; its numbers {show(bare)} are taken as µm"
    return None, f"the header's spacing {show(bare)} {header.unit} is outside {MIN_UM:g} to {MAX_UM:g} µm"


def disagreement(spacing_um: Spacing, header: StackHeader) -> str:
    """A warning when the header says clearly another spacing than the table, else nothing."""
    told, _ = spacing_from(header)
    if told is None or all(abs(a - b) <= _TOLERANCE * max(a, b) for a, b in zip(spacing_um, told, strict=True)):
        return ""
    return f"dataset.csv says {show(spacing_um)} µm, the image's header {show(told)} µm; the table counts"


def show(spacing: Spacing) -> str:
    """z × y × x."""
    return " × ".join(f"{value:g}" for value in spacing)
