"""From values to places on a chart: ranges, round ticks, labels."""

import math
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Linear: `low`..`high` of the data to `start`..`end` of the picture."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """The place of `value`."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def finite(values: Iterable[float | None]) -> list[float]:
    """Those of `values` that can be drawn."""
    return [value for value in values if value is not None and math.isfinite(value)]


def drawable(*values: float | None) -> bool:
    """Whether all of `values` have a place on a chart."""
    return len(finite(values)) == len(values)


def span(
    values: Iterable[float | None], *, margin: float = 0.05, include: tuple[float, ...] = ()
) -> tuple[float, float]:
    """A range that holds all of `values` and of `include`, wider by the share `margin`; (0, 1) if there is none.

    A single value gets a range around it.
    """
    known = [*finite(values), *include]
    if not known:
        return 0.0, 1.0
    low, high = min(known), max(known)
    room = (high - low) * margin or abs(high) * 0.1 or 0.5
    return low - (0 if low in include else room), high + (0 if high in include and high > low else room)


def ticks(low: float, high: float, most: int = 5, *, whole: bool = False) -> tuple[float, ...]:
    """At most `most` round values within [low, high], 1, 2 or 5 times a power of ten apart; `whole` ones if asked."""
    if not (math.isfinite(low) and math.isfinite(high)) or high <= low:
        return ()
    power = 10.0 ** math.floor(math.log10((high - low) / most))
    if whole:
        power = max(power, 1.0)
    step = next(one for one in (power * factor for factor in (1, 2, 5, 10, 20)) if _count(low, high, one) <= most)
    first = math.ceil(low / step - 1e-9)
    return tuple(round(index * step, 12) for index in range(first, first + _count(low, high, step)))


def _count(low: float, high: float, step: float) -> int:
    return math.floor(high / step + 1e-9) - math.ceil(low / step - 1e-9) + 1


def label_ticks(values: tuple[float, ...]) -> tuple[str, ...]:
    """The shortest labels that tell all of `values` apart, all with the same number of decimals."""
    decimals = next((digits for digits in range(7) if all(abs(one - round(one, digits)) < 1e-9 for one in values)), 7)
    return tuple(f"{value:.{decimals}f}".replace("-", "−") for value in values)
