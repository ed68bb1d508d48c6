"""The progress of a batch: a line per stack with how long the rest will take, and a bar on a terminal."""

import time
from contextlib import ExitStack

from stages.common.program.messages import get_logger
from stages.common.program.progress import Steps, progress
from stages.common.requests.prediction.results import StackResult
from stages.common.text import percent

log = get_logger(__name__)


class Showing:
    """A context manager around the work on `total` stacks."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._opened = ExitStack()
        self._steps: Steps | None = None
        self._started = time.monotonic()
        self._computed = 0

    def __enter__(self) -> "Showing":
        self._steps = self._opened.enter_context(progress("predict", self._total))
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def tell(self, name: str, result: StackResult) -> None:
        """One stack has ended."""
        assert self._steps is not None
        self._computed += result.status == "done"
        if result.status == "failed":
            log.error(f"{name}: failed: {result.words[-1]}")
        left = self._total - self._steps.done - 1
        line = f"predict {self._steps.done + 1}/{self._total} {name}: {_what(result)}{self._rest(left)}"
        self._steps.advance(f"{name}: {_what(result)}", line)

    def _rest(self, left: int) -> str:
        """By the mean of the stacks that were computed in this run; those that are done already take no time."""
        if not left or not self._computed:
            return ""
        return f"; about {duration((time.monotonic() - self._started) / self._computed * left)} left"


def duration(seconds: float) -> str:
    """For people: seconds below two minutes, minutes below two hours, else hours."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _what(result: StackResult) -> str:
    if result.status != "done":
        return "failed" if result.status == "failed" else "done before, skipped"
    share = f"{percent(result.vessel_share or 0)} vessel"
    return f"{share} (read {result.read_s:.1f} s, computed {result.compute_s:.1f} s, written {result.write_s:.1f} s)"
