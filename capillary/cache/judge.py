"""What a recomputed result says about the recorded one. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from capillary.cache.recorded import Recorded
from capillary.compute.circumstances import Circumstances, differences, differing_key


class Verdict(StrEnum):
    """How a recorded result stands after it was recomputed."""

    CONFIRMED = "confirmed"
    EXPLAINED = "explained"
    UNEXPLAINED = "unexplained"
    NOT_COMPARABLE = "not comparable"
    NOT_RECOMPUTED = "not recomputed"


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """`differing` maps an out to (recorded hash, hash now); `reasons` are the words for people."""

    record: Recorded
    verdict: Verdict
    differing: Mapping[str, tuple[str, str]]
    reasons: tuple[str, ...] = ()


def judge(
    record: Recorded, outs: Mapping[str, str], recorded_in: Circumstances | None, now: Circumstances
) -> Judgement:
    """Compare `record` with the hashes of the `outs` that were computed `now`.

    `recorded_in` is None if nothing is known of the machine that computed the record: then nothing explains a
    difference.
    """
    differing = {
        name: (digest, outs.get(name, "missing")) for name, digest in record.outs.items() if outs.get(name) != digest
    }
    if not differing:
        return Judgement(record=record, verdict=Verdict.CONFIRMED, differing={})
    if recorded_in is None:
        reason = "this workspace has no record of the machine that computed it"
        return Judgement(record=record, verdict=Verdict.UNEXPLAINED, differing=differing, reasons=(reason,))
    reasons = tuple(differences(recorded_in, now))
    verdict = Verdict.EXPLAINED if reasons else Verdict.UNEXPLAINED
    same = ("it was computed on this CPU type, with these packages, threads and processes",)
    return Judgement(record=record, verdict=verdict, differing=differing, reasons=reasons or same)


def not_comparable(record: Recorded, recorded_in: Circumstances, now: Circumstances) -> Judgement | None:
    """What is said of a result of another image, CPU type or number of threads or processes; None for one of these."""
    key = differing_key(recorded_in, now)
    if not key:
        return None
    reasons = differences(recorded_in, now)[: len(key)]
    if {"threads", "processes"}.issuperset(key):
        wanted = f"CAPILLARY_THREADS={recorded_in.threads} CAPILLARY_PROCESSES={recorded_in.processes}"
        reasons.append(f"to compute it so here: {wanted} capillary cache audit --stage {record.address}")
    return Judgement(record=record, verdict=Verdict.NOT_COMPARABLE, differing={}, reasons=tuple(reasons))


def failed(record: Recorded, reason: str) -> Judgement:
    """A result that could not be computed again."""
    return Judgement(record=record, verdict=Verdict.NOT_RECOMPUTED, differing={}, reasons=(reason,))
