"""What one stack's work tells the user: aloud for a single stack, kept for the table where there are many."""

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from stages.common.program.messages import get_logger
from stages.common.program.progress import progress

log = get_logger(__name__)

Tick = Callable[[], None]


@dataclass(frozen=True, kw_only=True)
class Report:
    """`inform` takes what is good to know, `warn` what may be wrong; `steps(title, total)` gives a counter of steps."""

    inform: Callable[[str], None]
    warn: Callable[[str], None]
    steps: Callable[[str, int], AbstractContextManager[Tick]]


@contextlib.contextmanager
def _shown(title: str, total: int) -> Iterator[Tick]:
    with progress(title, total) as steps:
        yield steps.tick


ALOUD = Report(inform=log.info, warn=log.warning, steps=_shown)


@dataclass(frozen=True, kw_only=True)
class Remarks:
    """The warnings about one stack of many. `check` is called at each step and may raise to end the work."""

    name: str
    check: Tick
    warnings: list[str] = field(default_factory=list)

    def report(self) -> Report:
        """Warnings are said under the stack's name and kept; steps are counted in silence."""
        return Report(inform=_drop, warn=self._warn, steps=lambda _title, _total: contextlib.nullcontext(self.check))

    def _warn(self, text: str) -> None:
        self.warnings.append(text)
        log.warning(f"{self.name}: {text}")


def _drop(_text: str) -> None:
    """The table has it."""
