"""What params.yaml says of the values in a label: which are vessel, and which voxels nobody labelled.

Without NumPy, because the launcher checks params with it.
"""

import math
from dataclasses import dataclass
from typing import Literal, get_args

Kind = Literal["binary", "foreground", "values", "at_least"]
Number = int | float

_NAMES = ("binary", "foreground")
_MOST_INT = (1 << 64) - 1
_FORMS = "binary, foreground, {values: [number, …]} or {at_least: number}"


@dataclass(frozen=True, kw_only=True)
class LabelRule:
    """Which values are vessel.

    binary: the larger of two. foreground: every one but 0. values: exactly `values`. at_least: `values[0]` and above.
    """

    kind: Kind
    values: tuple[Number, ...] = ()

    def as_json(self) -> object:
        """As params.yaml writes it."""
        if self.kind in _NAMES:
            return self.kind
        return {self.kind: list(self.values) if self.kind == "values" else self.values[0]}


@dataclass(frozen=True, kw_only=True)
class LabelMeaning:
    """`rule` says what is vessel; a voxel of `ignore_value` was labelled by nobody."""

    rule: LabelRule = LabelRule(kind="binary")
    ignore_value: Number | None = None


BINARY = LabelMeaning()


def parse_rule(value: object) -> LabelRule:
    """The rule that `value`, as YAML or JSON gives it, writes. Raises ValueError saying what may be written."""
    if isinstance(value, LabelRule):
        return value
    if isinstance(value, str) and value in _NAMES:
        return LabelRule(kind="binary" if value == "binary" else "foreground")
    if not isinstance(value, dict) or len(value) != 1 or next(iter(value)) not in get_args(Kind):
        raise ValueError(f"is not one of {_FORMS}")
    (kind, given), *_ = value.items()
    if kind == "at_least":
        return LabelRule(kind="at_least", values=(_value(given),))
    if kind != "values" or not isinstance(given, list | tuple) or not given:
        raise ValueError(f"is not one of {_FORMS}")
    values = tuple(map(_value, given))
    if len(set(values)) != len(values):
        raise ValueError("a value occurs twice in `values`")
    return LabelRule(kind="values", values=values)


def _value(given: object) -> Number:
    try:
        return exact_number(given)
    except ValueError as error:
        raise ValueError(f"{error}; write {_FORMS}") from error


def exact_number(value: object) -> Number:
    """A finite number, whole ones of up to 64 bits as integers, which compare exactly with any type. Raises ValueError
    for all else.
    """
    if isinstance(value, int) and abs(value) > _MOST_INT:
        raise ValueError("no label holds an integer of more than 64 bits")
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{value!r} is not a finite number")
    return int(value) if abs(value) <= _MOST_INT and float(value).is_integer() else value


def number_text(value: Number) -> str:
    """`value` as a person writes it: an integer with all of its digits."""
    return str(value) if isinstance(value, int) else f"{value:g}"
