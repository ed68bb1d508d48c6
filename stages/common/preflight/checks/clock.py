"""Clock: set at all, and not far from that of the servers (S3 refuses a request that is 15 minutes off)."""

import time
from collections.abc import Iterable

from stages.common.preflight.check import Check, missed, passed
from stages.common.preflight.checks.service import Answer
from stages.common.preflight.params import ClockParams

_SET_IT = "set the clock: sudo timedatectl set-ntp true (in a virtual machine: restart it, or its time service)"


def check_clock(answers: Iterable[Answer], params: ClockParams, now_s: float | None = None) -> Check:
    """`now_s` (this machine's time, seconds since 1970) against the year and the servers that tell theirs."""
    year = time.gmtime(now_s if now_s is not None else time.time()).tm_year
    if year < params.earliest_year:
        threshold = f"{params.earliest_year} or later"
        return missed("clock", f"the year is {year}", threshold, _SET_IT, critical=params.critical)
    skews = {answer.service.place: answer.ahead_s for answer in answers if answer.ahead_s is not None}
    if not skews:
        return passed("clock", f"the year is {year}; no server to compare with", critical=params.critical)
    place, ahead_s = max(skews.items(), key=lambda item: abs(item[1]))
    threshold = f"within {params.max_skew_s:g} s"
    if abs(ahead_s) > params.max_skew_s:
        side = "behind" if ahead_s > 0 else "ahead of"
        value = f"{abs(ahead_s):.0f} s {side} {place}"
        return missed("clock", value, threshold, _SET_IT, critical=params.critical)
    return passed("clock", f"{abs(ahead_s):.0f} s from {place}", threshold, critical=params.critical)
