"""Which recorded results are recomputed: a random share of those that can be. Pure."""

import math
import random
from collections.abc import Sequence
from fractions import Fraction

from capillary.cache.recorded import Recorded


def choose(records: Sequence[Recorded], share: float, seed: int) -> list[Recorded]:
    """`share` of `records`, rounded up, at least one; the same for the same seed and records in any order."""
    ordered = sorted(records, key=lambda each: each.identity)
    count = min(len(ordered), math.ceil(Fraction(str(share)) * len(ordered)))
    drawn = random.Random(seed).sample(range(len(ordered)), count)  # noqa: S311 - a sample, not a secret
    return [ordered[index] for index in sorted(drawn)]
