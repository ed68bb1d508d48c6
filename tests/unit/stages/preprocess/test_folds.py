"""Drawn folds: promises on any set of volumes, and balance against brute force."""

import itertools
import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.common.errors import ParamsError
from stages.common.imaging.volumes import Fold
from stages.preprocess.folds import Member, draw_folds

# the foreground shares of six two-photon stacks
SIX_SHARES = (0.1237, 0.2983, 0.4205, 0.0317, 0.3399, 0.1165)


def make_members(shares: tuple[float, ...], groups: tuple[int, ...] | None = None) -> list[Member]:
    """Volumes v0, v1, … with these shares; each is its own group unless groups are given."""
    return [
        Member(id=f"v{i}", group=f"g{groups[i] if groups else i}", foreground_share=share, content=f"sha{i}")
        for i, share in enumerate(shares)
    ]


@st.composite
def volumes_and_folds(draw: st.DrawFn) -> tuple[list[Member], int]:
    """1 to 8 groups of 1 to 5 volumes, some with equal shares, and a possible number of folds."""
    sizes = draw(st.lists(st.integers(1, 5), min_size=2, max_size=8))
    groups = tuple(group for group, size in enumerate(sizes) for _ in range(size))
    share = st.floats(0.001, 0.6) | st.just(0.1)
    shares = tuple(draw(st.lists(share, min_size=len(groups), max_size=len(groups))))
    return make_members(shares, groups), draw(st.integers(2, len(sizes)))


@given(volumes_and_folds(), st.integers(0, 10))
def test_every_volume_is_validated_once_and_trains_elsewhere(given_: tuple[list[Member], int], seed: int) -> None:
    """Validation parts are disjoint and cover all; a fold trains on exactly the others; no part is empty."""
    members, num_folds = given_
    folds = draw_folds(members, num_folds, seed)
    ids = {member.id for member in members}
    assert len(folds) == num_folds
    assert Counter(name for fold in folds for name in fold.val) == Counter(ids)
    for fold in folds:
        assert fold.train
        assert fold.val
        assert set(fold.train) == ids - set(fold.val)


@given(volumes_and_folds(), st.integers(0, 10))
def test_no_group_is_split(given_: tuple[list[Member], int], seed: int) -> None:
    """All volumes of a group are validated in one fold."""
    members, num_folds = given_
    group_of = {member.id: member.group for member in members}
    met = [{group_of[name] for name in fold.val} for fold in draw_folds(members, num_folds, seed)]
    assert all(not one & other for one, other in itertools.combinations(met, 2))


@given(volumes_and_folds(), st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(given_: tuple[list[Member], int], shuffler: random.Random) -> None:
    """The same volumes in another order give the same folds."""
    members, num_folds = given_
    shuffled = shuffler.sample(members, len(members))
    assert draw_folds(shuffled, num_folds, 7) == draw_folds(members, num_folds, 7)


@given(volumes_and_folds(), st.randoms(use_true_random=False))
def test_names_do_not_matter(given_: tuple[list[Member], int], shuffler: random.Random) -> None:
    """Renaming volumes and groups renames them in the folds and moves none: content decides."""
    members, num_folds = given_
    new_ids = dict(zip((m.id for m in members), shuffler.sample([m.id for m in members], len(members)), strict=True))
    old_groups = sorted({m.group for m in members})
    new_groups = dict(zip(old_groups, shuffler.sample(old_groups, len(old_groups)), strict=True))
    renamed = [
        Member(id=new_ids[m.id], group=new_groups[m.group], foreground_share=m.foreground_share, content=m.content)
        for m in members
    ]
    expected = [{new_ids[name] for name in fold.val} for fold in draw_folds(members, num_folds, 3)]
    assert [set(fold.val) for fold in draw_folds(renamed, num_folds, 3)] == expected


def _share_sums(folds: tuple[Fold, ...], members: list[Member]) -> list[float]:
    share = {member.id: member.foreground_share for member in members}
    return [sum(share[name] for name in fold.val) for fold in folds]


@given(st.lists(st.floats(0.001, 0.6), min_size=4, max_size=40), st.integers(2, 4), st.integers(0, 5))
def test_ungrouped_volumes_are_balanced(shares: list[float], num_folds: int, seed: int) -> None:
    """Sizes differ by at most one; sums of shares by at most their range, or the largest where sizes are uneven."""
    members = make_members(tuple(shares))
    folds = draw_folds(members, num_folds, seed)
    sizes = [len(fold.val) for fold in folds]
    even = len(shares) % num_folds == 0
    assert max(sizes) - min(sizes) == (0 if even else 1)
    sums = _share_sums(folds, members)
    bound = max(shares) - min(shares) if even else max(shares)
    assert max(sums) - min(sums) <= bound + 1e-9


@pytest.mark.parametrize("seed", range(20))
def test_six_real_shares_are_spread_better_than_by_chance(seed: int) -> None:
    """Of all ways to put six stacks into three pairs, the drawn one is in the better third."""
    members = make_members(SIX_SHARES)
    sums = _share_sums(draw_folds(members, 3, seed), members)
    spreads = []
    for order in itertools.permutations(SIX_SHARES):
        pairs = [order[0] + order[1], order[2] + order[3], order[4] + order[5]]
        spreads.append(max(pairs) - min(pairs))
    assert max(sums) - min(sums) <= np.quantile(spreads, 1 / 3) + 1e-9


def test_groups_of_uneven_size_give_even_folds() -> None:
    """One animal with ten stacks is a fold of its own, the other eleven are dealt out evenly."""
    groups = (0,) * 10 + tuple(range(1, 12))
    folds = draw_folds(make_members(tuple(np.linspace(0.05, 0.4, 21)), groups), 3, 0)
    assert sorted(len(fold.val) for fold in folds) == [5, 6, 10]


def test_the_seed_decides() -> None:
    """One seed repeats its folds; over some seeds the pairs themselves change, not just their numbers."""
    members = make_members(tuple(np.random.default_rng(0).random(23)))
    drawn = [draw_folds(members, 5, seed) for seed in range(8)]
    assert draw_folds(members, 5, 0) == drawn[0]
    assert len({frozenset(fold.val for fold in folds) for folds in drawn}) == 8


@pytest.mark.parametrize(
    ("groups", "num_folds", "says"),
    [
        (None, 7, "7 folds cannot be drawn from 6 volumes"),
        ((0, 0, 0, 1, 1, 1), 3, r"3 folds cannot be drawn from 2 groups \(of 6 volumes\)"),
        (None, 1, "a single fold cannot be drawn"),
    ],
)
def test_more_folds_than_there_are_is_refused(groups: tuple[int, ...] | None, num_folds: int, says: str) -> None:
    """Both numbers are named, and the key to change."""
    with pytest.raises(ParamsError, match=says) as caught:
        draw_folds(make_members(SIX_SHARES, groups), num_folds, 0)
    assert "preprocess.num_folds" in caught.value.report()
