"""Volumes whose spacing is unlike that of all others: a slip of the decimal point, or of the order of axes."""

from collections.abc import Iterator, Sequence
from statistics import median

from stages.common.imaging.spacing import other_spacing, show
from stages.common.imaging.zyx import Spacing
from stages.ingest.verdicts import Verdict

_LEAST = 3  # volumes: of two nobody knows which is odd
_SLIP = 8  # times the others: a decimal point is 10 times; microscopes of one set differ by less


def odd_spacings(verdicts: Sequence[Verdict]) -> Iterator[str]:
    """A remark on each valid volume of a set whose spacing is far from the median of all on an axis, or has its numbers
    in another order.
    """
    found = [(verdict.id, verdict.stack.spacing_um) for verdict in verdicts if verdict.stack]
    if len(found) < _LEAST:
        return
    z, y, x = (median(spacing_um[axis] for _, spacing_um in found) for axis in range(3))
    for name, spacing_um in found:
        if how := _how_odd(spacing_um, (z, y, x)):
            yield f"{name}: its spacing {show(spacing_um)} µm {how} the set's median {show((z, y, x))} µm"


def _how_odd(spacing_um: Spacing, usual_um: Spacing) -> str:
    for axis, own, usual in zip("zyx", spacing_um, usual_um, strict=True):
        if not 1 / _SLIP < own / usual < _SLIP:
            times, what = (own / usual, "larger") if own > usual else (usual / own, "smaller")
            return f"is {times:.3g} times {what} along {axis} than"
    low, middle, high = sorted(spacing_um)
    usual_low, usual_middle, usual_high = sorted(usual_um)
    has_same = not other_spacing((low, middle, high), (usual_low, usual_middle, usual_high))
    return "has in another order the numbers of" if has_same and other_spacing(spacing_um, usual_um) else ""
