"""The result of a check: pass, warn or fail, with the value found, the threshold and what to do."""

import enum
from collections.abc import Iterable
from dataclasses import asdict, dataclass

GB = 1e9


class Status(enum.StrEnum):
    """How a check ended. What is missed is `fail` where it is critical, else `warn`."""

    PASS = "pass"  # noqa: S105 - a word, no password
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing looked at. `critical` says whether missing the threshold stops a run."""

    name: str
    status: Status
    value: str
    threshold: str = ""
    remedy: str = ""
    critical: bool = False


@dataclass(frozen=True)
class Report:
    """All checks of one preflight, in the order in which they are shown."""

    checks: tuple[Check, ...]

    @property
    def failed(self) -> bool:
        """Whether a run that starts now could not end."""
        return any(check.status is Status.FAIL for check in self.checks)

    def having(self, status: Status) -> tuple[Check, ...]:
        """The checks that ended with `status`."""
        return tuple(check for check in self.checks if check.status is status)

    def as_data(self) -> dict[str, object]:
        """What `capillary preflight --json` prints."""
        return {"failed": self.failed, "checks": [asdict(check) for check in self.checks]}


def passed(name: str, value: str, threshold: str = "", *, critical: bool = False) -> Check:
    """All is well."""
    return Check(name=name, status=Status.PASS, value=value, threshold=threshold, critical=critical)


def warned(name: str, value: str, threshold: str, remedy: str) -> Check:
    """Something to know, which stops no run."""
    return Check(name=name, status=Status.WARN, value=value, threshold=threshold, remedy=remedy)


def missed(name: str, value: str, threshold: str, remedy: str, *, critical: bool) -> Check:
    """The threshold is missed, which stops a run where it is `critical`."""
    status = Status.FAIL if critical else Status.WARN
    return Check(name=name, status=status, value=value, threshold=threshold, remedy=remedy, critical=critical)


def at_least(
    name: str, have_gb: float, least_gb: float, what: str, remedy: str, *, critical: bool, why: str = ""
) -> Check:
    """A quantity against its least value, both in 10⁹ bytes; `what` completes the value ("free").

    `why` says what the least value follows from where it is the run's need.
    """
    shown = f"{have_gb:.1f}" if have_gb >= 10 else f"{have_gb:.2f}"
    value, threshold = f"{shown} GB {what}", f"at least {float(f'{least_gb:.3g}'):g} GB"
    if why:
        threshold += f", the run's need: {why}"
    if have_gb >= least_gb:
        return passed(name, value, threshold, critical=critical)
    return missed(name, value, threshold, remedy, critical=critical)


def report_of(*groups: Iterable[Check]) -> Report:
    """Several groups of checks as one report."""
    return Report(tuple(check for group in groups for check in group))
