"""Drawn folds: promises on any set of volumes, and balance against brute force."""

import itertools
import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.common.errors import ParamsError
from stages.common.splits import Fold
from stages.preprocess import folds as drawing
from stages.preprocess.folds import Member, draw_folds

# the foreground shares of six two-photon stacks
SIX_SHARES = (0.1237, 0.2983, 0.4205, 0.0317, 0.3399, 0.1165)
SEEDED = settings(max_examples=50, deadline=None, derandomize=True)


def make_members(shares: Sequence[float], groups: Sequence[int] | None = None) -> list[Member]:
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


@SEEDED
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
        assert fold.val == tuple(sorted(fold.val))
        assert fold.train == tuple(sorted(ids - set(fold.val)))


@SEEDED
@given(volumes_and_folds(), st.integers(0, 10))
def test_no_group_is_split(given_: tuple[list[Member], int], seed: int) -> None:
    """All volumes of a group are validated in one fold."""
    members, num_folds = given_
    group_of = {member.id: member.group for member in members}
    met = [{group_of[name] for name in fold.val} for fold in draw_folds(members, num_folds, seed)]
    assert all(not one & other for one, other in itertools.combinations(met, 2))


@SEEDED
@given(volumes_and_folds(), st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(given_: tuple[list[Member], int], shuffler: random.Random) -> None:
    """The same volumes in another order give the same folds."""
    members, num_folds = given_
    shuffled = shuffler.sample(members, len(members))
    assert draw_folds(shuffled, num_folds, 7) == draw_folds(members, num_folds, 7)


@SEEDED
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


@pytest.mark.parametrize("size", [1, 2, 3])
def test_among_equals_content_decides(size: int) -> None:
    """With equal sizes and shares, new names and a new order leave every content in its fold."""
    shuffler = random.Random(0)
    contents = shuffler.sample(range(100, 200), 7 * size)

    def contents_of_folds() -> list[set[str]]:
        ids, groups = (shuffler.sample([f"{letter}{i}" for i in range(count)], count) for letter, count in names)
        members = [
            Member(id=ids[i], group=groups[i // size], foreground_share=0.25, content=f"sha{content}")
            for i, content in enumerate(contents)
        ]
        content_of = {member.id: member.content for member in members}
        drawn = draw_folds(shuffler.sample(members, len(members)), 3, 5)
        return [{content_of[name] for name in fold.val} for fold in drawn]

    names = (("v", 7 * size), ("g", 7))
    first = contents_of_folds()
    assert [contents_of_folds() for _ in range(10)] == [first] * 10


def in_dealing_order(members: list[Member], num_folds: int) -> Iterator[tuple[list[Member], object]]:
    """Each group with its stratum: largest first, equal sizes by falling share, `num_folds` groups per stratum."""
    by_name: dict[str, list[Member]] = defaultdict(list)
    for member in members:
        by_name[member.group].append(member)
    falling = sorted(by_name.values(), key=lambda inside: (-len(inside), -sum(m.foreground_share for m in inside)))
    for size, alike in itertools.groupby(falling, key=len):
        for place, inside in enumerate(alike):
            yield inside, (size, place // num_folds)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize(
    ("group_sizes", "num_folds"),
    [
        ((1,) * 11, 4),
        ((2, 1, 1, 1, 1, 1, 1), 3),
        ((2, 2, 1, 1, 1, 1, 1), 3),
        ((3, 2, 2, 2, 1, 1, 1, 1, 1), 3),
        ((4, 3, 3, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1), 5),
    ],
)
def test_each_group_goes_to_a_smallest_fold_without_its_stratum(
    group_sizes: tuple[int, ...], num_folds: int, seed: int
) -> None:
    """The next group goes to a fold with the fewest volumes, if possible one that has none of its stratum."""
    groups = [group for group, size in enumerate(group_sizes) for _ in range(size)]
    members = make_members(np.random.default_rng(seed).random(len(groups)).tolist(), groups)
    fold_of = {name: number for number, fold in enumerate(draw_folds(members, num_folds, seed)) for name in fold.val}
    sizes, met = [0] * num_folds, [set[object]() for _ in range(num_folds)]
    for inside, stratum in in_dealing_order(members, num_folds):
        fold = fold_of[inside[0].id]
        smallest = [number for number in range(num_folds) if sizes[number] == min(sizes)]
        assert fold in ([number for number in smallest if stratum not in met[number]] or smallest)
        sizes[fold] += len(inside)
        met[fold].add(stratum)


def _share_sums(folds: tuple[Fold, ...], members: list[Member]) -> list[float]:
    share = {member.id: member.foreground_share for member in members}
    return [sum(share[name] for name in fold.val) for fold in folds]


def _share_means(folds: tuple[Fold, ...], members: list[Member]) -> list[float]:
    return [total / len(fold.val) for total, fold in zip(_share_sums(folds, members), folds, strict=True)]


def test_of_several_deals_the_one_with_the_most_equal_folds_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """More deals never widen the spread of the folds' mean shares, also for folds of different sizes."""
    members = make_members(np.random.default_rng(2).random(11).tolist())
    gained = 0
    for seed in range(20):
        spreads = []
        for deals in range(1, 11):
            monkeypatch.setattr(drawing, "DRAWS", deals)
            means = _share_means(draw_folds(members, 4, seed), members)
            spreads.append(round(max(means) - min(means), 12))
        assert spreads == sorted(spreads, reverse=True)
        gained += spreads[-1] < spreads[0]
    assert gained >= 15


@SEEDED
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
    assert caught.value.value == f"preprocess.num_folds: {num_folds}"
    assert "preprocess.num_folds" in caught.value.remedy


def test_as_many_folds_as_groups_can_be_drawn() -> None:
    """Each fold validates one group; two folds are the minimum."""
    for count in (2, 6):
        folds = draw_folds(make_members(SIX_SHARES[:count]), count, 0)
        assert sorted(fold.val for fold in folds) == [(f"v{number}",) for number in range(count)]
