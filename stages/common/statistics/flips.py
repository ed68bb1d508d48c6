"""Whether a mean difference is there at all: the exact sign-flip test, and the interval of what it does not refuse.

If two losses are equally good, a group's difference could as well have had the other sign. Of all 2ⁿ ways to give the n
differences their signs, p is the share whose mean is at least as far from 0 as the one found (Fisher 1935, "The Design
of Experiments", §21). No distribution is assumed, but that of the differences is symmetric then.

The same for differences less θ asks whether the mean may be θ. The sum of what is flipped must then be at most 0, that
is, a subset's mean at most θ: so the θ that are not refused are between two of the ordered means of the 2ⁿ − 1 subsets
(Hartigan 1969, "Using subsample values as typical values", JASA 64). p < 1 − confidence exactly where that interval
leaves 0 out, from six groups on. With five the test cannot refuse at 0.95, and the interval is the widest that it has:
from the smallest to the largest difference, with 0.9375.

Beyond MOST_EXACT groups, subsets are drawn, each group in or out by chance; the one that was found counts as drawn.
"""

from dataclasses import dataclass

import numpy as np

from stages.common.statistics.groups import LEAST_GROUPS, Values

MOST_EXACT = 20  # a million subsets
LEAST_DRAWS = 9_999
_ROUNDING = 1e-12


@dataclass(frozen=True, kw_only=True)
class FlipTest:
    """`p` is two-sided, `p_smallest` what it would be did all groups agree. The ends are None below LEAST_GROUPS."""

    p: float
    p_smallest: float
    ci_low: float | None
    ci_high: float | None


def flip_test(differences: Values, confidence: float, *, draws: int, seed: int) -> FlipTest:
    """Test and interval of the mean of `differences`, one a group; beyond MOST_EXACT of them by `draws` and `seed`."""
    if len(differences) <= MOST_EXACT:
        sums, sizes = _all_subsets(differences)
    else:
        sums, sizes = _drawn_subsets(differences, max(draws, LEAST_DRAWS), seed)
    # with the subset of nobody, whose sum is 0, which is the difference as it was found
    total = len(sums) + 1
    near_zero = _ROUNDING * float(np.abs(differences).sum())
    below, above = np.count_nonzero(sums <= near_zero) + 1, np.count_nonzero(sums >= -near_zero) + 1
    low, high = _ends(np.sort(sums / sizes), confidence) if len(differences) >= LEAST_GROUPS else (None, None)
    return FlipTest(p=min(1.0, 2 * min(below, above) / total), p_smallest=min(1.0, 2 / total), ci_low=low, ci_high=high)


def _ends(means: Values, confidence: float) -> tuple[float, float]:
    """The k-th smallest and the k-th largest of all means, k such that both tails hold 1 − `confidence` at most."""
    # a product like 0.025 · 2⁷ is not the whole number that it should be
    k = max(int((1 - confidence) / 2 * (len(means) + 1) + 1e-9), 1)
    return float(means[k - 1]), float(means[-k])


def _all_subsets(values: Values) -> tuple[Values, Values]:
    """Sum and size of each subset but the empty one."""
    sums, sizes = np.zeros(1), np.zeros(1)
    for value in values:
        sums, sizes = np.concatenate([sums, sums + value]), np.concatenate([sizes, sizes + 1])
    return sums[1:], sizes[1:]


def _drawn_subsets(values: Values, draws: int, seed: int) -> tuple[Values, Values]:
    generator = np.random.default_rng(seed)
    chosen = generator.integers(2, size=(draws, len(values)), dtype=np.int8)
    chosen = chosen[chosen.any(axis=1)]
    return chosen @ values, chosen.sum(axis=1, dtype=np.float64)
