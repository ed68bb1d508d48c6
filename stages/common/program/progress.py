"""Progress that suits its reader: a bar on a terminal, one line per step in a log."""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from stages.common.program.console import console
from stages.common.program.messages import can_draw, get_logger, with_facts
from stages.common.text import visible

log = get_logger(__name__)

LOG_EVERY_S = 10.0  # between two lines about many small steps


@dataclass
class Steps:
    """A counter of finished steps that shows itself."""

    title: str
    total: int
    done: int = 0
    started: float = field(default_factory=time.monotonic)
    _bar: Progress | None = None
    _told: float = field(default_factory=time.monotonic)

    def advance(self, what: str, line: str | None = None, facts: object = None) -> None:
        """Count one step as finished; `what` names it and its result. A log shows `line` instead, if there is one, and
        the fields of the dataclass `facts` in JSON."""
        self.done += 1
        if self._bar is None:
            passed_s = time.monotonic() - self.started
            text = line or f"{self.title} {self.done}/{self.total} {what} ({passed_s:.1f} s)"
            log.info(text, extra=with_facts(facts))
        else:
            self._bar.update(self._bar.task_ids[0], advance=1, description=visible(f"{self.title} {what}"))

    def tick(self) -> None:
        """Count one of many small steps as finished. A log gets a line now and then, and one at the end."""
        self.done += 1
        now = time.monotonic()
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], advance=1, description=self.title)
        elif self.done == self.total or now - self._told > LOG_EVERY_S:
            self._told = now
            log.info(f"{self.title} {self.done}/{self.total} ({now - self.started:.1f} s)")


@contextlib.contextmanager
def progress(title: str, total: int, done: int = 0) -> Iterator[Steps]:
    """Show `total` steps of which `done` are finished already (a resumed run)."""
    if not can_draw():
        yield Steps(title, total, done)
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        bar.add_task(title, total=total, completed=done)
        yield Steps(title, total, done, _bar=bar)
