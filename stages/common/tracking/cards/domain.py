"""What a network was trained on, as its card says: the ranges of the training stacks' spacing and intensities."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stages.common.errors import DamagedError

_MOST_VALUES = 20


@dataclass(frozen=True, kw_only=True)
class TrainingDomain:
    """Spacing (z, y, x; µm) is that of the stacks as they came. `lowest` and `highest` are by the name of what was
    measured on each normalised volume (stages/common/imaging/intensities/distribution.py).
    """

    volumes: int
    lowest_um: tuple[float, float, float]
    highest_um: tuple[float, float, float]
    lowest: Mapping[str, float]
    highest: Mapping[str, float]


def domain_from(data: object, origin: object, remedy: str) -> TrainingDomain | None:
    """`data`, as JSON has it, as a domain; None for none. Raises DamagedError naming `origin` for another form."""
    if data is None:
        return None
    names = set(TrainingDomain.__annotations__)
    if not isinstance(data, dict) or set(data) != names or not _is_domain(data):
        raise DamagedError(
            "the model card is damaged: `domain` is not valid",
            remedy=remedy,
            file=origin,
            value=repr(data)[:200],
        )
    spacing: dict[str, Any] = {name: tuple(data[name]) for name in ("lowest_um", "highest_um")}
    return TrainingDomain(**{**data, **spacing})


def _is_domain(data: Mapping[str, Any]) -> bool:
    spacings = [data["lowest_um"], data["highest_um"]]
    measured = [data["lowest"], data["highest"]]
    return (
        type(data["volumes"]) is int
        and data["volumes"] > 0
        and all(
            isinstance(one, list) and len(one) == 3 and all(_is_number(size) and size > 0 for size in one)
            for one in spacings
        )
        and all(isinstance(one, dict) and len(one) <= _MOST_VALUES for one in measured)
        and set(measured[0]) == set(measured[1])
        and all(_is_number(value) for one in measured for value in one.values())
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
