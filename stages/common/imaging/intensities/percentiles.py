"""Exact percentiles of more intensities than fit into memory, without sorting them.

Intensities become whole numbers in the same order (their bits, for floats with the sign folded in), and the wanted
ranks are found digit by digit: a histogram of the first 16 bits says into which bin a rank falls, a second reading
counts the next 16 bits of what is in that bin, and so on. So 8- and 16-bit stacks are read once, 32-bit ones twice,
and nothing is kept but histograms of 65536 counts.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Read = Callable[[], Iterable[NDArray[Any]]]
Keys = NDArray[np.unsignedinteger[Any]]
Place = tuple[int, int]  # the digits that are known, as one number; the rank among the intensities that share them


def percentiles(read: Read, ends: Sequence[float]) -> list[float] | None:
    """The percentiles `ends` (0 to 100) of all that `read` yields, by linear interpolation; None when that is nothing.

    Equal to `numpy.percentile` of the concatenated arrays to the last bit. Between two signed integers that are further
    apart than their dtype can say, numpy's overflows; these do not. The arrays have one dtype, integers or
    floats of at most 64 bits, without NaN; `read` gives the same ones at every call.
    """
    dtype = next((part.dtype.newbyteorder("=") for part in read()), None)
    if dtype is None:
        return None
    bits = 8 * dtype.itemsize
    digit = min(bits, 16)
    first = _count(read, dtype, {0}, bits - digit, digit)
    total = int(first[0].sum())
    # as numpy's method "linear" has it
    virtual = (total - 1) * np.true_divide(np.asarray(ends, dtype=np.float64), 100)
    below = np.floor(virtual).astype(np.int64)
    above = np.minimum(below + 1, total - 1)
    ranks = sorted({int(rank) for rank in (*below, *above)})
    values = dict(zip(ranks, _select(read, dtype, ranks, first[0]), strict=True))
    low = np.array([values[int(rank)] for rank in below], dtype=dtype)
    high = np.array([values[int(rank)] for rank in above], dtype=dtype)
    return [float(value) for value in _between(low, high, virtual - below)]


def _between(low: NDArray[Any], high: NDArray[Any], share: NDArray[np.float64]) -> NDArray[Any]:
    """`low` + `share` of the way to `high`, computed from the nearer end, as numpy does."""
    step = _distance(low, high)
    between: NDArray[Any] = np.where(share >= 0.5, high - step * (1 - share), low + step * share)
    return between


def _distance(low: NDArray[Any], high: NDArray[Any]) -> NDArray[Any]:
    """`high` - `low`, which is not negative: as int8, from -100 to 100 it would be -56."""
    step: NDArray[Any] = np.subtract(high, low)
    return step.view(f"u{step.dtype.itemsize}") if step.dtype.kind == "i" else step


def _select(read: Read, dtype: np.dtype[Any], ranks: Sequence[int], first: NDArray[np.int64]) -> NDArray[Any]:
    """The intensities of `ranks` (0 is the lowest); `first` is the histogram of their first digit."""
    bits = 8 * dtype.itemsize
    digit = min(bits, 16)
    places = [_descend(first, (0, rank), digit) for rank in ranks]
    for shift in range(bits - 2 * digit, -1, -digit):
        counts = _count(read, dtype, {known for known, _ in places}, shift, digit)
        places = [_descend(counts[place[0]], place, digit) for place in places]
    return _from_keys(np.array([known for known, _ in places], dtype=f"u{dtype.itemsize}"), dtype)


def _descend(counts: NDArray[np.int64], place: Place, digit: int) -> Place:
    """`place` with one more digit, whose histogram is `counts`."""
    known, rank = place
    up_to = np.cumsum(counts)
    value = int(np.searchsorted(up_to, rank, side="right"))
    return known << digit | value, rank - int(up_to[value] - counts[value])


def _count(
    read: Read, dtype: np.dtype[Any], prefixes: Collection[int], shift: int, digit: int
) -> dict[int, NDArray[np.int64]]:
    """For each of `prefixes` the histogram of the digit above bit `shift`, of the keys that begin with it."""
    counts = {prefix: np.zeros(1 << digit, dtype=np.int64) for prefix in prefixes}
    whole = shift + digit == 8 * dtype.itemsize  # the first digit: every key begins with nothing
    for part in read():
        keys = _to_keys(part.astype(dtype, copy=False).ravel())
        beginning = None if whole else keys >> np.array(shift + digit, dtype=keys.dtype)
        for prefix, count in counts.items():
            chosen = keys if beginning is None else keys[beginning == prefix]
            digits = (chosen >> np.array(shift, dtype=keys.dtype)) & np.array((1 << digit) - 1, dtype=keys.dtype)
            count += np.bincount(digits.astype(np.intp), minlength=1 << digit)
    return counts


def _to_keys(values: NDArray[Any]) -> Keys:
    """Unsigned numbers in the order of `values`."""
    keys: Keys = values.view(f"u{values.dtype.itemsize}")
    top = _top_bit(keys.dtype)
    if values.dtype.kind == "i":
        keys = keys ^ top
    elif values.dtype.kind == "f":  # IEEE 754: negative numbers count downwards
        keys = np.where(keys & top, ~keys, keys | top)
    return keys


def _from_keys(keys: Keys, dtype: np.dtype[Any]) -> NDArray[Any]:
    top = _top_bit(keys.dtype)
    if dtype.kind == "i":
        keys = keys ^ top
    elif dtype.kind == "f":
        keys = np.where(keys & top, keys ^ top, ~keys)
    values: NDArray[Any] = keys.view(dtype)
    return values


def _top_bit(dtype: np.dtype[Any]) -> Any:
    return np.array(1 << (8 * dtype.itemsize - 1), dtype=dtype)
