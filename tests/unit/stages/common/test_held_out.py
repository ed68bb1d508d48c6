"""Groups that no fold sees: what may be written, who is drawn, and what is refused."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.common.errors import ParamsError
from stages.common.held_out import (
    Candidate,
    HeldOutGroups,
    count_of,
    draw_groups,
    ids_of,
    listed_groups,
    parse_test_groups,
    refuse_too_few_left,
)

SEEDED = settings(max_examples=50, deadline=None, derandomize=True)


@dataclass(frozen=True)
class Volume:
    """What a group is found by."""

    id: str
    group: str


VOLUMES = [Volume("a1", "animal"), Volume("a2", "animal"), Volume("b", "b"), Volume("c", "c")]


def candidates(shares: Sequence[float]) -> list[Candidate]:
    """Groups g0, g1, … with these foreground shares."""
    return [Candidate(name=f"g{i}", content=f"sha{i}", foreground_share=share) for i, share in enumerate(shares)]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (None, HeldOutGroups()),
        ([], HeldOutGroups()),
        (["animal", 7], HeldOutGroups(names=("animal", "7"))),
        ({"share": 0.2, "seed": 1}, HeldOutGroups(share=0.2, seed=1)),
    ],
)
def test_what_may_be_written(written: object, meant: HeldOutGroups) -> None:
    """Nothing, a list of names, of which some look like numbers, or a share with its seed."""
    assert parse_test_groups(written) == meant
    assert parse_test_groups(meant) is meant


@pytest.mark.parametrize(
    "written",
    [
        "animal",
        0.2,
        {"share": 0.2},
        {"share": 1, "seed": 1},
        {"share": True, "seed": 1},
        {"share": 0.2, "seed": -1},
        {"share": 0.2, "seed": 1, "x": 1},
        ["a", "a"],
        [True],
        [""],
        [1.5],
    ],
)
def test_anything_else_is_refused(written: object) -> None:
    """With the value, or with what may be written."""
    with pytest.raises(ValueError, match=r"null, \[group|twice"):
        parse_test_groups(written)


def test_an_id_means_its_whole_group() -> None:
    """Groups stay whole, whichever way they are named; each once."""
    groups = listed_groups(["a2", "c", "animal"], VOLUMES)
    assert groups == ("animal", "c")
    assert ids_of(groups, VOLUMES) == {"a1", "a2", "c"}


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    """Among groups and volumes."""
    with pytest.raises(ParamsError, match="no group or volume animl; did you mean `animal`"):
        listed_groups(["b", "animl"], VOLUMES)


@pytest.mark.parametrize(("share", "groups", "count"), [(0.2, 3, 1), (0.2, 10, 2), (0.25, 10, 3), (0.01, 5, 1)])
def test_a_share_is_rounded_and_at_least_one(share: float, groups: int, count: int) -> None:
    """Half a group counts as one."""
    assert count_of(share, groups) == count


@pytest.mark.parametrize(
    ("asked", "listed", "least", "refused"),
    [
        (HeldOutGroups(names=("animal", "b", "c")), {"a1", "a2", "b", "c"}, 1, True),
        (HeldOutGroups(names=("animal",)), {"a1", "a2"}, 3, True),
        (HeldOutGroups(names=("animal",)), {"a1", "a2"}, 2, False),
        (HeldOutGroups(share=0.5), set(), 2, True),
        (HeldOutGroups(), set(), 4, False),
    ],
)
def test_the_folds_need_groups_of_their_own(asked: HeldOutGroups, listed: set[str], least: int, refused: bool) -> None:
    """Nothing is refused here where nothing is held out: the folds have their own rule."""
    if refused:
        with pytest.raises(ParamsError, match="of 3 groups are held out"):
            refuse_too_few_left(asked, VOLUMES, listed, least)
    else:
        refuse_too_few_left(asked, VOLUMES, listed, least)


@SEEDED
@given(
    st.lists(st.floats(0.001, 0.6) | st.just(0.1), min_size=2, max_size=30),
    st.floats(0.05, 0.9),
    st.integers(0, 99),
    st.randoms(use_true_random=False),
)
def test_a_draw_is_of_the_size_asked_for_and_of_no_order(
    shares: list[float], share: float, seed: int, shuffler: random.Random
) -> None:
    """The same groups and seed give the same draw, in any order of the table."""
    groups = candidates(shares)
    drawn = draw_groups(groups, share, seed)
    assert len(set(drawn)) == len(drawn) == min(count_of(share, len(groups)), len(groups))
    assert draw_groups(shuffler.sample(groups, len(groups)), share, seed) == drawn


@SEEDED
@given(st.lists(st.floats(0.001, 0.6), min_size=9, max_size=30, unique=True), st.integers(0, 99))
def test_a_draw_takes_from_small_medium_and_large_shares(shares: list[float], seed: int) -> None:
    """As folds do: no third of the range of foreground shares is without a held-out group."""
    groups = sorted(candidates(shares), key=lambda one: one.foreground_share)
    drawn, third = set(draw_groups(groups, 0.4, seed)), len(groups) // 3
    for part in (groups[:third], groups[-third:]):
        assert drawn & {one.name for one in part}


def test_an_added_group_changes_few() -> None:
    """Over many tables and additions, nearly all that were held out still are."""
    kept = total = 0
    for seed in range(40):
        chance = random.Random(seed)
        groups = candidates([chance.random() for _ in range(20)])
        before, after = set(draw_groups(groups[:-1], 0.2, 3)), set(draw_groups(groups, 0.2, 3))
        kept, total = kept + len(before & after), total + len(before)
    assert kept / total > 0.85
