"""The line that a head prints when its job changes: for people to read, and for the experiment runner to parse."""

import re
from dataclasses import dataclass

_LINE = re.compile(
    r"job (?P<job>\S+) (?P<state>queued|running|ended)"
    r"(?: \((?P<reason>[^()]*)\))?"
    r"(?: on (?P<node>\S+))?"
    r" waited (?P<waited_s>\d+) s retries (?P<retries>\d+)"
)


@dataclass(frozen=True, kw_only=True)
class JobLine:
    """Where a job is. `waited_s` is how long it was in the queue before it first ran, or has been so far."""

    job: str
    state: str
    reason: str = ""
    node: str = ""
    waited_s: float = 0.0
    retries: int = 0


def format_job(line: JobLine) -> str:
    """`line` as text: `job 4711 running on n2 waited 34 s retries 0`."""
    reason = f" ({re.sub('[()]', '', line.reason)})" if line.reason else ""
    node = f" on {line.node}" if line.node else ""
    return f"job {line.job} {line.state}{reason}{node} waited {line.waited_s:.0f} s retries {line.retries}"


def parse_job(text: str) -> JobLine | None:
    """The job that `text` describes; None for any other line."""
    found = _LINE.fullmatch(text.strip())
    if found is None:
        return None
    return JobLine(
        job=found["job"],
        state=found["state"],
        reason=found["reason"] or "",
        node=found["node"] or "",
        waited_s=float(found["waited_s"]),
        retries=int(found["retries"]),
    )
