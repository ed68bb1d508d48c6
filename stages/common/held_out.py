"""Which groups of volumes no fold sees: listed in params.yaml, or a share of them drawn by seed.

Without NumPy, because preflight asks on the host, too.
"""

import hashlib
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from stages.common.errors import ParamsError
from stages.common.params import nearest

KEY = "preprocess.test_groups"
_FORMS = "null, [group or id, …] or {share: 0.2, seed: 1}"
_STRATA = 3  # few, large, medium and small foreground share: their borders move little when a volume is added


@dataclass(frozen=True, kw_only=True)
class HeldOutGroups:
    """What params.yaml says: names of groups or volumes, or a share (0 to 1, exclusive) of the groups with its seed.

    Neither: nothing is held out.
    """

    names: tuple[str, ...] = ()
    share: float | None = None
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A group that may be drawn. `content` is a checksum that decides by lot, so that names decide nothing."""

    name: str
    content: str
    foreground_share: float


class HasGroup(Protocol):
    """A volume with the group that it is of."""

    @property
    def id(self) -> str:
        """Its name."""

    @property
    def group(self) -> str:
        """Its group's name; its own where it is of none."""


def parse_test_groups(value: object) -> HeldOutGroups:
    """What `value`, as YAML or JSON gives it, asks for. Raises ValueError saying what may be written."""
    if isinstance(value, HeldOutGroups):
        return value
    if value is None:
        return HeldOutGroups()
    if isinstance(value, dict) and value.keys() == {"share", "seed"}:
        return HeldOutGroups(share=_share(value["share"]), seed=_seed(value["seed"]))
    if not isinstance(value, list | tuple):
        raise ValueError(f"is not one of {_FORMS}")
    names = tuple(_name(one) for one in value)
    if len(set(names)) != len(names):
        raise ValueError("a group occurs twice in the list")
    return HeldOutGroups(names=names)


def _name(value: object) -> str:
    """A name, or a number where a group is called that."""
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise ValueError(f"{value!r} is not the name of a group or of a volume; write {_FORMS}")
    return str(value)


def _share(value: Any) -> float:
    if type(value) not in (int, float) or not 0 < value < 1:
        raise ValueError(f"share: {value!r} is not between 0 and 1; write {_FORMS}")
    return float(value)


def _seed(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"seed: {value!r} is not a whole number from 0; write {_FORMS}")
    return int(value)


def listed_groups(names: Sequence[str], volumes: Iterable[HasGroup]) -> tuple[str, ...]:
    """The groups that `names` mean, each once. The id of a volume means its whole group.

    Raises ParamsError naming the first name that is neither a group nor a volume, with the nearest one.
    """
    group_of: Mapping[str, str] = {volume.id: volume.group for volume in volumes}
    groups = set(group_of.values())
    for name in names:
        if name not in groups and name not in group_of:
            raise ParamsError(
                f"there is no group or volume {name}; {nearest(name, sorted({*groups, *group_of}))}",
                remedy=f"correct {KEY}",
                value=f"{KEY}: {list(names)}",
            )
    return tuple(dict.fromkeys(name if name in groups else group_of[name] for name in names))


def count_of(share: float, groups: int) -> int:
    """How many of `groups` a share is: rounded, but at least one."""
    return max(1, math.floor(share * groups + 0.5))


def refuse_too_few_left(asked: HeldOutGroups, volumes: Sequence[HasGroup], listed: Collection[str], least: int) -> None:
    """Raise ParamsError if fewer than `least` groups are left for the folds. `listed` are ids that are held out."""
    groups = {volume.group for volume in volumes}
    out = len({volume.group for volume in volumes if volume.id in listed})
    out += 0 if asked.share is None else count_of(asked.share, len(groups))
    if out and len(groups) - out < least:
        raise ParamsError(
            f"{out} of {len(groups)} groups are held out, leaving {len(groups) - out} to train and validate on",
            remedy=f"hold out fewer in {KEY}, lower preprocess.num_folds (and training.folds to match), or add volumes",
            value=f"{KEY}: {list(asked.names) if asked.share is None else f'share {asked.share:g}'}",
        )


def refuse_share_of_given_folds(asked: HeldOutGroups, splits_file: str) -> None:
    """Raise ParamsError if a share is to be drawn from volumes that a splits file has dealt out already."""
    if asked.share is not None:
        raise ParamsError(
            f"{KEY} asks for a share, but {splits_file} already says which volumes the folds see",
            remedy="list the groups that no fold of the file names: `test_groups: [NAME, …]`",
            value=f"{KEY}: share {asked.share:g}",
        )


def draw_groups(candidates: Sequence[Candidate], share: float, seed: int) -> tuple[str, ...]:
    """The names of the groups to hold out: count_of(share) of them, spread over the range of foreground shares.

    Each group has a lot, made from `seed` and its content. In each stratum of foreground share the lowest lots are
    drawn. So the same groups give the same draw, in any order, and a group that is added changes it little.
    """
    wanted = count_of(share, len(candidates))
    ordered = sorted(candidates, key=lambda one: (one.foreground_share, one.content, one.name))
    strata = min(_STRATA, wanted)
    drawn: list[str] = []
    for index in range(strata):
        stratum = ordered[len(ordered) * index // strata : len(ordered) * (index + 1) // strata]
        count = wanted * (index + 1) // strata - wanted * index // strata
        drawn += [one.name for one in sorted(stratum, key=lambda one: (_lot(one, seed), one.name))[:count]]
    return tuple(sorted(drawn))


def _lot(candidate: Candidate, seed: int) -> str:
    return hashlib.sha256(f"{seed}:{candidate.content}".encode()).hexdigest()


def ids_of(groups: Collection[str], volumes: Iterable[HasGroup]) -> frozenset[str]:
    """The ids of the volumes in `groups`."""
    return frozenset(volume.id for volume in volumes if volume.group in groups)
