"""Whether the values of a label fit what ingest.label says of them, and which setting would fit where they do not."""

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.common.errors import DataError
from stages.common.imaging.labels.meaning import ignored_voxels
from stages.common.imaging.labels.rule import LabelMeaning, Number

SETTING = "ingest.label"
_LISTED = 6
_MOST_CLASSES = 16
_MOST_LONE = 0.05  # of the voxels between the lowest and the highest value
_FAR_OFF = 99  # the least that means "not labelled" next to small numbers, as 99, 100, 127, 255 and 65535 do
_NEIGHBOURS = [step for step in itertools.product((-1, 0, 1), repeat=3) if step > (0, 0, 0)]  # one of each two


def check_values(label_zyx: NDArray[Any], meaning: LabelMeaning) -> None:
    """Raises DataError, naming the values and the setting that fits, when `meaning` does not fit the label."""
    ignored = ignored_voxels(label_zyx, meaning)
    values = label_zyx.reshape(-1) if ignored is None else label_zyx[~ignored]
    low, high = values.min(), values.max()
    if meaning.rule.kind == "binary":
        _check_binary(label_zyx, values, ignored)
    elif meaning.rule.kind == "foreground" and low < 0:
        raise _refused(f"its values go down to {low:g}; ", "name those of vessels by {values: […]}", "foreground")
    elif meaning.rule.kind == "foreground" and low != high and _has_grey_edges(label_zyx, values, ignored):
        looks = "do not belong together" if _is_far_off(values) else "look like grey edges"
        raise _refused(f"{_listed(values)} {looks}; ", _for_grey(values), "foreground")


def _check_binary(label_zyx: NDArray[Any], values: NDArray[Any], ignored: NDArray[np.bool_] | None) -> None:
    low, high = values.min(), values.max()
    if ((values == low) | (values == high)).all():
        if low < high == 0:
            raise _refused(f"its values are {low:g} and 0; ", f"{{values: [{low:g}]}} if {low:g} is vessel, else [0]")
        return
    found = f"it holds {len(np.unique(values))} values ({_listed(values)}); "
    if _is_far_off(values):
        raise _refused(found, _for_grey(values))
    if _has_grey_edges(label_zyx, values, ignored):
        raise _refused(f"{found}grey edges: ", _for_grey(values))
    raise _refused(found, "foreground (instances), {values: […]} (classes), or set ingest.ignore_value")


def asked_values(meaning: LabelMeaning) -> list[Number]:
    """The values that the settings name one by one."""
    named = list(meaning.rule.values) if meaning.rule.kind == "values" else []
    return named if meaning.ignore_value is None else [*named, meaning.ignore_value]


def occurring(label_zyx: NDArray[Any], meaning: LabelMeaning) -> frozenset[Number]:
    """Those of `asked_values` that the label holds."""
    return frozenset(value for value in asked_values(meaning) if (label_zyx == value).any())


def _has_grey_edges(label_zyx: NDArray[Any], values: NDArray[Any], ignored: NDArray[np.bool_] | None) -> bool:
    """Whether the values between the lowest and the highest are not numbers of vessels or classes, but grey: as
    interpolation and JPEG leave them. Classes that enclose each other are few and counted.
    """
    found = np.unique(values)
    are_counted = _are_counted(found)
    if len(found) <= _MOST_CLASSES and are_counted:
        return False
    between = (label_zyx > found[0]) & (label_zyx < found[-1])
    if ignored is not None:
        between &= ~ignored
    # connected parts of a thin vessel, counted over faces, may be single voxels
    is_scattered = not are_counted and _are_scattered(label_zyx, between)
    return is_scattered or _are_slopes(label_zyx, between, ignored)


def _are_counted(found: NDArray[Any]) -> bool:
    """Whether `found`, sorted, are whole numbers with few gaps."""
    span = found[-1].item() - found[0].item()  # the type itself may not hold it
    return bool(span < 2 * len(found) and (found == np.rint(found)).all())


def _is_far_off(values: NDArray[Any]) -> bool:
    """Whether the highest of `values` is far above the others, which are counted: as 255 for "not labelled" is."""
    return len(np.unique(values)) > 2 and lone_value(values) is not None


def lone_value(values: NDArray[Any]) -> Number | None:
    """The highest of `values` if it is far above all others, which are counted: it may mean "not labelled"."""
    *others, highest = np.unique(values).tolist()
    is_far = len(others) > 0 and highest >= _FAR_OFF and highest - others[-1] > others[-1] - others[0]
    return highest if is_far and _are_counted(np.array(others)) else None


def _are_scattered(label_zyx: NDArray[Any], between: NDArray[np.bool_]) -> bool:
    """Whether many of `between` have no neighbour of their own value. A voxel of a numbered vessel has one."""
    alike = np.zeros_like(between)
    for step in _NEIGHBOURS:
        here, there = (tuple(slice(max(sign * by, 0), min(sign * by, 0) or None) for by in step) for sign in (1, -1))
        same = label_zyx[here] == label_zyx[there]
        alike[here] |= same
        alike[there] |= same
    return int(np.count_nonzero(between & ~alike)) > _MOST_LONE * int(np.count_nonzero(between))


def _are_slopes(label_zyx: NDArray[Any], between: NDArray[np.bool_], ignored: NDArray[np.bool_] | None) -> bool:
    """Whether most of `between` have both a darker and a brighter neighbour."""
    darker, brighter = np.zeros_like(between), np.zeros_like(between)
    for axis in range(3):
        first, second = (_part(label_zyx, axis, start) for start in (0, 1))
        rising, falling = first < second, first > second
        if ignored is not None:
            known = ~(_part(ignored, axis, 0) | _part(ignored, axis, 1))
            rising, falling = rising & known, falling & known
        for mask, start, where in (
            (brighter, 0, rising),
            (darker, 1, rising),
            (darker, 0, falling),
            (brighter, 1, falling),
        ):
            _part(mask, axis, start)[...] |= where
    return 2 * int(np.count_nonzero(between & darker & brighter)) > int(np.count_nonzero(between))


def _part(array: NDArray[Any], axis: int, start: int) -> NDArray[Any]:
    """A view of all voxels but the last (`start` 0) or the first (1) along `axis`."""
    size = array.shape[axis] - 1
    return array[(slice(None),) * axis + (slice(start, start + size),)]


def _for_grey(values: NDArray[Any]) -> str:
    high = values.max()
    if _is_far_off(values):
        return f"{{values: […]}}, or set ingest.ignore_value: {high:g} if nobody labelled the voxels of {high:g}"
    half = high / 2 if isinstance(high, float | np.floating) else -(-int(high) // 2)
    return f"{{at_least: {half:g}}} for half of {high:g}, or save the label without interpolation"


def _listed(values: NDArray[Any]) -> str:
    found = np.unique(values)
    return ", ".join(f"{value:g}" for value in found[:_LISTED]) + (", …" if len(found) > _LISTED else "")


def _refused(what: str, fitting: str, rule: str = "binary") -> DataError:
    text = f"{what}{SETTING}: {rule} does not fit, set it to {fitting}"
    return DataError(text, remedy=f"set {SETTING} in params.yaml (docs/labels.md)")
