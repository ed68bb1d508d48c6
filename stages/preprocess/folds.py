"""Folds drawn by seed: groups whole, sizes equal, foreground share spread evenly.

scikit-learn's StratifiedGroupKFold needs as many members in a class as there are folds, which six volumes do not have,
and lets the sizes of folds drift apart when groups differ in size. Here instead: groups are dealt out one at a time,
the largest first, each to the fold with the fewest volumes. Groups of equal size are dealt in strata of neighbours in
foreground share, each fold getting one of a stratum before any gets a second. What stays open is drawn; of DRAWS such
deals the one with the most equal folds is kept.

For ungrouped volumes this bounds the difference between two folds: sizes differ by at most 1; sums of foreground
shares by at most the range of the shares where sizes are equal (the strata's ranges do not overlap), else by at most
the largest share.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.common.splits import Fold, check_enough

DRAWS = 10  # enough to leave out unlucky deals, few enough that another seed gives other folds


@dataclass(frozen=True, kw_only=True)
class Member:
    """A volume to put into folds. `content` (a checksum) breaks ties, so that names decide nothing."""

    id: str
    group: str
    foreground_share: float
    content: str


@dataclass(frozen=True, kw_only=True)
class _Group:
    ids: tuple[str, ...]
    share_sum: float
    content: str
    stratum: int = 0

    @property
    def size(self) -> int:
        return len(self.ids)


def groups_astride(folds: Iterable[Fold], group_of: Mapping[str, str]) -> list[str]:
    """A warning for each fold that trains on volumes of a group which it validates: its score will flatter."""
    warnings = []
    for index, fold in enumerate(folds):
        shared = {group_of[name] for name in fold.train} & {group_of[name] for name in fold.val}
        if shared:
            warnings.append(f"fold {index} has these groups in both train and val: {', '.join(sorted(shared))}")
    return warnings


def draw_folds(members: Sequence[Member], num_folds: int, seed: int) -> tuple[Fold, ...]:
    """`num_folds` folds that each validate their own volumes and train on all others.

    The same volumes and seed give the same folds, whatever the order of `members` and whatever their names.
    Raises ParamsError when there are fewer groups than folds.
    """
    groups = _in_dealing_order(members, num_folds)
    check_enough(len(members), len(groups), num_folds)
    rng = np.random.default_rng(seed)
    deals = [_deal(groups, num_folds, rng) for _ in range(DRAWS)]
    fold_of_group = min(deals, key=lambda deal: _imbalance(groups, deal, num_folds))
    fold_of = {name: fold for group, fold in zip(groups, fold_of_group, strict=True) for name in group.ids}
    return tuple(
        Fold(
            train=tuple(sorted(name for name, fold in fold_of.items() if fold != index)),
            val=tuple(sorted(name for name, fold in fold_of.items() if fold == index)),
        )
        for index in range(num_folds)
    )


def _in_dealing_order(members: Sequence[Member], num_folds: int) -> list[_Group]:
    """Largest group first; groups of one size by falling share, `num_folds` neighbours a stratum."""
    by_name: dict[str, list[Member]] = defaultdict(list)
    for member in sorted(members, key=lambda member: (member.foreground_share, member.content, member.id)):
        by_name[member.group].append(member)
    by_size: dict[int, list[_Group]] = defaultdict(list)
    for inside in by_name.values():
        by_size[len(inside)].append(
            _Group(
                ids=tuple(member.id for member in inside),
                share_sum=sum(member.foreground_share for member in inside),
                content=inside[0].content,
            )
        )
    groups, strata = [], 0
    for size in sorted(by_size, reverse=True):
        alike = sorted(by_size[size], key=lambda group: (-group.share_sum, group.content, group.ids))
        groups += [
            _Group(ids=g.ids, share_sum=g.share_sum, content=g.content, stratum=strata + i // num_folds)
            for i, g in enumerate(alike)
        ]
        strata = groups[-1].stratum + 1
    return groups


def _deal(groups: Sequence[_Group], num_folds: int, rng: np.random.Generator) -> list[int]:
    """A fold for each group: the one with the fewest volumes, then with the fewest of its stratum, then by lot."""
    sizes = [0] * num_folds
    met: list[set[int]] = [set() for _ in range(num_folds)]
    dealt = []
    for group in groups:
        lots = rng.random(num_folds)
        fold = min(range(num_folds), key=lambda f: (sizes[f], group.stratum in met[f], lots[f]))
        sizes[fold] += group.size
        met[fold].add(group.stratum)
        dealt.append(fold)
    return dealt


def _imbalance(groups: Sequence[_Group], dealt: Sequence[int], num_folds: int) -> tuple[int, float]:
    """(spread of the folds' sizes, spread of their mean foreground shares)."""
    sizes: NDArray[np.int64] = np.zeros(num_folds, dtype=np.int64)
    shares = np.zeros(num_folds)
    for group, fold in zip(groups, dealt, strict=True):
        sizes[fold] += group.size
        shares[fold] += group.share_sum
    return int(np.ptp(sizes)), float(np.ptp(shares / sizes))
