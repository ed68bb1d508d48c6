"""One view of all cells: a live table on a terminal, one line per event in a log."""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

from rich.live import Live
from rich.table import Table

from capillary.experiments.cells import Outcome, Slot
from capillary.places.lines import JobLine, parse_job
from stages.common.epoch_line import EpochLine, parse_epoch
from stages.common.program.console import console, plain
from stages.common.program.messages import can_draw, get_logger, message_of, with_facts

log = get_logger(__name__)

COLUMNS = ("cell", "state", "epoch", "loss", "DSC", "left", "memory")
NUMBERS = COLUMNS[2:]
STATE_STYLES = {"running": "cyan", "done": "green", "up to date": "green", "failed": "bold red", "stopped": "yellow"}
TAIL_LINES = 12


@dataclass(frozen=True, kw_only=True)
class Row:
    """What is known of a cell. `validation_dsc` is the last one that was measured; `job` is None without a cluster."""

    state: str = "waiting"
    epoch: EpochLine | None = None
    validation_dsc: float | None = None
    job: JobLine | None = None

    @property
    def shown_state(self) -> str:
        """With the reason for which a job waits, or the node on which it runs."""
        if self.state != "running" or self.job is None:
            return self.state
        detail = self.job.node or self.job.reason
        return f"{self.job.state} {detail}".strip()


class View:
    """Shows the cells `addresses` while they run; a context manager, and the listener of Cells."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self._rows = dict.fromkeys(addresses, Row())
        self._started = time.monotonic()
        self._lock = threading.Lock()  # cells report from threads of their own
        self._is_drawn = can_draw()
        self._live = Live(console=console, get_renderable=self.table, refresh_per_second=2, transient=True)

    def __enter__(self) -> Self:
        if self._is_drawn:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._is_drawn:
            self._live.stop()
            console.print(self.table())

    def started(self, address: str, slot: Slot) -> None:
        """A cell got a slot."""
        self._set(address, state="running")
        if not self._is_drawn:
            log.info(f"{address} starts on {slot.name}")

    def printed(self, address: str, line: str) -> None:
        """A line of a cell's output; epochs and news of its job are shown, the rest is in its log."""
        message = message_of(line)
        if job := parse_job(message):
            self._set(address, job=job)
            if not self._is_drawn:
                log.info(f"{address} {message}")
        epoch = parse_epoch(message)
        if epoch is None:
            return
        dsc = self._rows[address].validation_dsc if epoch.validation_dsc is None else epoch.validation_dsc
        self._set(address, epoch=epoch, validation_dsc=dsc)
        if not self._is_drawn:
            log.info(f"{address} {message}", extra=with_facts(epoch))

    def ended(self, outcome: Outcome) -> None:
        """A cell ended. A failure is told at once, with the end of what it printed."""
        state = _state(outcome)
        self._set(outcome.address, state=state)
        if state != "failed":
            log.info(f"{outcome.address} {state} after {outcome.seconds:.0f} s")
            return
        log.error(f"{outcome.address} {state} after {outcome.seconds:.0f} s")
        log.error(f"  exit code {outcome.code}; all that it printed: {outcome.log}")
        for line in outcome.log.read_text(encoding="utf-8").splitlines()[-TAIL_LINES:]:
            log.error(f"  | {message_of(line)}")

    def job_of(self, address: str) -> JobLine | None:
        """What its head said last of the job of a cell."""
        with self._lock:
            return self._rows[address].job

    def table(self) -> Table:
        """The cells as they stand."""
        with self._lock:
            rows = dict(self._rows)
        done = sum(row.state in ("done", "up to date") for row in rows.values())
        passed = _clock(time.monotonic() - self._started)
        table = Table(title=f"{done} of {len(rows)} cells done, {passed} passed", title_justify="left")
        for name in COLUMNS:
            table.add_column(name, justify="right" if name in NUMBERS else "left", no_wrap=True)
        for address, row in rows.items():
            style = STATE_STYLES.get(row.state, "dim")
            table.add_row(plain(address), plain(row.shown_state, style), *_numbers(row))
        return table

    def _set(self, address: str, **known: object) -> None:
        with self._lock:
            self._rows[address] = replace(self._rows[address], **known)  # type: ignore[arg-type]  # keys of Row


def _state(outcome: Outcome) -> str:
    if outcome.code == 0:
        return "done" if outcome.ran else "up to date"
    return "stopped" if outcome.code in (130, 143) else "failed"


def _numbers(row: Row) -> tuple[str, ...]:
    epoch = row.epoch
    if epoch is None:
        return ("–",) * len(NUMBERS)
    left = _clock(epoch.remaining_s) if row.state == "running" else "–"
    return (
        f"{epoch.epoch}/{epoch.epochs}",
        "–" if epoch.loss is None else f"{epoch.loss:.4f}",
        "–" if row.validation_dsc is None else f"{row.validation_dsc:.3f}",
        left,
        f"{epoch.rss_gb:.1f} GB",
    )


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
