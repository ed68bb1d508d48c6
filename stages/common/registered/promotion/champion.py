"""The champion follows from the history, and the aliases follow from the champion.

Several people may promote at once, through the server alone. Nobody holds a lock. Each of them

1. appends an entry to the history,
2. reads the history, then the aliases,
3. ends if the aliases are what follows from the history; else points them there, and goes to 2.

Claim: once the last of them has ended, the aliases are what follows from the whole history. A read from the server
gives what the last write left. Let E be the entry that was appended last, by Q. Consider Q's last pass: it read the
whole history, then the aliases, found that both agree, and ended.

- If no alias changed after Q read the aliases, they still agree with the whole history.
- Otherwise let W be the last write that changed one, by P. P read again after W, and so after E was appended: it read
  the whole history, then the aliases as they stay permanently. P ended, so both agree.

Nothing is needed but that `standing` is a function of the history alone. For trainings on equal volumes it gives the
best one. It does not depend on who asks: a comparison depends on two trainings that never change. A person's decision
counts over everything before it, so a rollback is not undone by the training that it removed.

A process that is killed between a write and its next read leaves the history whole. The next one that promotes
anything puts the aliases right.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from stages.common.errors import ServiceError, UsageError
from stages.common.registered.promotion.comparing import Comparison
from stages.common.registered.promotion.history import EVALUATED, PROMOTED, ROLLED_BACK, Entry, Kind, iso_time, new_key
from stages.common.tracking.names import CANDIDATE, CHAMPION, PREVIOUS

MOST_ROUNDS = 200
Compare = Callable[[str, str], Comparison]  # version, version → the first against the second, in the first's metric


@dataclass(frozen=True, kw_only=True)
class State:
    """History (oldest first) and alias → version, read in this order. `newest` is the time of the last pointer, ns."""

    entries: tuple[Entry, ...]
    aliases: Mapping[str, str]
    newest: int = 0


class Record(Protocol):
    """The registered model on its server."""

    def read(self) -> State:
        """The history first, then the aliases."""

    def append(self, entry: Entry) -> None:
        """Add `entry`."""

    def point(self, alias: str, version: str, after: int) -> None:
        """Let `alias` lead to `version`; newer than the pointer of the time `after`."""

    def compare(self, one: str, other: str) -> Comparison:
        """Version `one` against version `other`, in the metric that decides for `one`."""

    def measured(self, version: str) -> tuple[str, float | None]:
        """The metric that decides for `version`, and its mean."""

    def now_ns(self) -> int:
        """The time of this machine."""


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Who is who after a history; None if nobody is."""

    candidate: str | None = None
    champion: str | None = None
    previous: str | None = None

    def aliases(self) -> dict[str, str]:
        """Where each alias belongs."""
        held = {CANDIDATE: self.candidate, CHAMPION: self.champion, PREVIOUS: self.previous}
        return {alias: version for alias, version in held.items() if version is not None}


def standing(entries: Sequence[Entry], compare: Compare) -> Standing:
    """What follows from a history. What an entry says of its own comparison is used; others are made again."""
    candidate = champion = previous = None
    last = max((place for place, entry in enumerate(entries) if entry.by_person), default=-1)
    candidate = next((entry.to for entry in reversed(entries) if not entry.by_person), None)
    if last >= 0:  # nothing before a person's decision counts
        champion, previous = entries[last].to, entries[last].former
    for entry in entries[last + 1 :]:
        if champion is None or (champion != entry.to and _beats(entry, champion, compare)):
            champion, previous = entry.to, champion
    return Standing(candidate=candidate, champion=champion, previous=None if previous == champion else previous)


def _beats(entry: Entry, champion: str, compare: Compare) -> bool:
    if entry.former == champion:
        return entry.better is True
    return compare(entry.to, champion).is_better


def settle(record: Record) -> Standing:
    """Point the aliases where the history says, until they stay. Raises ServiceError if they never do."""
    for _ in range(MOST_ROUNDS):
        state = record.read()
        found = standing(state.entries, record.compare)
        wrong = {alias: to for alias, to in found.aliases().items() if state.aliases.get(alias) != to}
        if not wrong:
            return found
        for alias, version in wrong.items():
            record.point(alias, version, state.newest)
    raise ServiceError(
        "the aliases of a registered model keep being changed by another program",
        remedy="find out which program moves them (see the history in capillary show NAME), then promote again",
    )


def stand(record: Record, version: str, who: str) -> tuple[Standing, Entry | None]:
    """Let the training `version` stand for champion, once; (who is who afterwards, its entry if it is new)."""
    state = record.read()
    if any(entry.to == version and not entry.by_person for entry in state.entries):
        return settle(record), None
    champion = standing(state.entries, record.compare).champion
    found = None if champion is None else record.compare(version, champion)
    entry = _entry(record, state, kind=EVALUATED, who=who, to=version, former=champion, why=_why(found), found=found)
    record.append(entry)
    return settle(record), entry


def decide(record: Record, version: str, *, who: str, why: str, rolls_back: bool = False) -> tuple[Standing, Entry]:
    """Make `version` the champion because a person says so; (who is who afterwards, the entry).

    Raises CapillaryError (usage) where it is the champion already, unless somebody moved the alias elsewhere.
    """
    state = record.read()
    former = standing(state.entries, record.compare)
    champion = former.champion if former.champion != version else former.previous
    if former.champion == version == state.aliases.get(CHAMPION):
        raise UsageError(
            f"version {version} is already the champion",
            remedy="promote another version; capillary models lists them",
        )
    found = None if champion is None else record.compare(version, champion)
    kind: Kind = ROLLED_BACK if rolls_back else PROMOTED
    entry = _entry(record, state, kind=kind, who=who, to=version, former=champion, why=why, found=found)
    record.append(entry)
    return settle(record), entry


def roll_back(record: Record, *, who: str, why: str) -> tuple[Standing, Entry]:
    """Make the previous champion the champion again. Raises CapillaryError (usage) where there was none."""
    former = standing(record.read().entries, record.compare).previous
    if former is None:
        raise UsageError(
            "there was no champion before this one",
            remedy="promote a version by its number: capillary promote NAME/VERSION --reason …",
        )
    return decide(record, former, who=who, why=why, rolls_back=True)


def _why(found: Comparison | None) -> str:
    if found is None:
        return "the first complete training"
    return found.words() if found.difference is None or found.is_better else f"not better: {found.words()}"


def _entry(
    record: Record,
    state: State,
    *,
    kind: Kind,
    who: str,
    to: str,
    former: str | None,
    why: str,
    found: Comparison | None,
) -> Entry:
    key = new_key(record.now_ns(), state.entries)
    metric, mean = record.measured(to)
    return Entry(
        key=key,
        kind=kind,
        who=who,
        when=iso_time(key),
        former=former,
        to=to,
        why=why,
        better=None if found is None or found.difference is None else found.is_better,
        metric=metric,
        values={"mean": mean} | ({} if found is None else found.values()),
    )
