"""Lengths as people type them into a table."""

import math
import re

_NUMBER = re.compile(r"[+-]?(?:[0-9]+[.,]?[0-9]*|[.,][0-9]+)(?:e[+-]?[0-9]+)?", re.IGNORECASE)
_UNIT = re.compile(r"\s*(?:um|[µμ]m?|microns?)$", re.IGNORECASE)


def micrometres_in(text: str) -> float | None:
    """The length in µm in a cell: a decimal point or comma, with µm behind it or without. None for anything else.

    A comma is never a separator of thousands: 1,000 µm would be a millimetre, which no voxel measures.
    """
    number = _UNIT.sub("", text)
    if _NUMBER.fullmatch(number) is None:
        return None
    value = float(number.replace(",", "."))
    return value if math.isfinite(value) else None
