"""The choice of an audit: a share, rounded up, that a seed repeats."""

import random

import pytest

from capillary.cache.choose import choose
from tests.unit.capillary.cache.records import record

RECORDS = [record(f"train@a-{number}") for number in range(30)]


@pytest.mark.parametrize(("share", "count"), [(0.1, 3), (0.11, 4), (0.001, 1), (1, 30), (0, 0)])
def test_a_share_is_rounded_up(share: float, count: int) -> None:
    """So that a small project has one result audited; 0.1 of 30 is 3, not 4."""
    chosen = choose(RECORDS, share, 7)
    assert len(chosen) == len({each.address for each in chosen}) == count


def test_a_seed_chooses_the_same_whatever_the_order() -> None:
    """And another seed others."""
    shuffled = random.Random(0).sample(RECORDS, len(RECORDS))
    assert choose(shuffled, 0.2, 7) == choose(RECORDS, 0.2, 7) != choose(RECORDS, 0.2, 8)


def test_every_result_can_be_chosen() -> None:
    """None is out of an audit's reach."""
    assert {each.address for seed in range(99) for each in choose(RECORDS, 0.1, seed)} == {
        each.address for each in RECORDS
    }


def test_nothing_recorded_is_nothing_chosen() -> None:
    """Also with the whole share."""
    assert choose([], 1, 7) == []
