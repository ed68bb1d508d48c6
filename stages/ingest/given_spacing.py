"""The spacing that a table gives, with what the image's header adds where cells are empty."""

from stages.common.dataset.columns import SPACING
from stages.common.imaging.spacing import HeaderSpacing, filled
from stages.common.imaging.zyx import PartialSpacing, Spacing
from stages.ingest.candidates import Candidate

TABLE = "dataset.csv"


def complete(given: PartialSpacing | None, told: HeaderSpacing) -> tuple[Spacing | None, str]:
    """The table's spacing (z, y, x; µm) and where it is from, its empty cells filled by the header.

    None if all cells are empty, or the header has no spacing to fill them.
    """
    z, y, x = given or (None, None, None)
    if z is not None and y is not None and x is not None:
        return (z, y, x), TABLE
    if (z, y, x) == (None, None, None) or told.spacing_um is None:
        return None, ""
    missing = "".join(axis for axis, cell in zip("zyx", given or (), strict=True) if cell is None)
    return filled((z, y, x), told.spacing_um), f"{TABLE}, {missing} by {told.source}"


def missing_cells(candidate: Candidate) -> str:
    """Which cells of the table would help a volume without spacing, or that a table would."""
    cells = candidate.spacing_um or (None, None, None)
    empty = [name for name, cell in zip(SPACING, cells, strict=True) if cell is None]
    if not candidate.origin:
        return "; give it in a table (capillary dataset init FOLDER writes one)"
    return f"; fill in {', '.join(empty)} in {candidate.origin}"
