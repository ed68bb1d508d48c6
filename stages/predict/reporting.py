"""What one stack's work tells the user: aloud for a single stack, kept for the table where there are many."""

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from stages.common.progress import progress, say

Tick = Callable[[], None]


@dataclass(frozen=True, kw_only=True)
class Report:
    """`say` takes what is good to know, `warn` what may be wrong; `steps(title, total)` gives a counter of steps."""

    say: Callable[[str], None]
    warn: Callable[[str], None]
    steps: Callable[[str, int], AbstractContextManager[Tick]]


@contextlib.contextmanager
def _shown(title: str, total: int) -> Iterator[Tick]:
    with progress(title, total) as steps:
        yield steps.tick


ALOUD = Report(say=say, warn=lambda text: say(f"warning: {text}"), steps=_shown)


@dataclass(frozen=True, kw_only=True)
class Remarks:
    """The warnings about one stack of many. `check` is called at each step and may raise to end the work."""

    name: str
    check: Tick
    warnings: list[str] = field(default_factory=list)

    def report(self) -> Report:
        """Warnings are said under the stack's name and kept; steps are counted in silence."""
        return Report(say=_drop, warn=self._warn, steps=lambda _title, _total: contextlib.nullcontext(self.check))

    def _warn(self, text: str) -> None:
        self.warnings.append(text)
        say(f"{self.name}: warning: {text}")


def _drop(_text: str) -> None:
    """The table has it."""
