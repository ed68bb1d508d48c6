"""Independent cells of the graph side by side: each its own `dvc repro -s`, as many at once as there are slots.

DVC itself runs one stage after the other (treeverse/dvc#755). It lets go of its lock while a command runs, and merges
dvc.lock entry by entry, so that several of its processes can work in one workspace; they only have to wait for the
lock instead of giving up on it.
"""

import shlex
import signal
import time
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from capillary.cache.lines import FETCHED
from capillary.dvc.commands import BUSY, KILL_SAFE_DVC
from capillary.experiments.assignment import Assignment
from capillary.lifetimes.group import start_group
from capillary.lifetimes.leash import kill_group, leash
from capillary.log_file import LogFile
from capillary.publishing.leftovers import TORN, remove_torn
from stages.common.lifetimes.shutdown import REQUESTS, Action, Event, Phase, Policy, Shutdown, event_of
from stages.common.lifetimes.signals import is_ignored, signal_group
from stages.common.program.messages import get_logger

log = get_logger(__name__)

MOST_BUSY_TRIES = 60
BUSY_PAUSE_S = 2.0
STOPPED = 130


@dataclass(frozen=True, kw_only=True)
class Slot:
    """A share of the machine, as environment variables of the cell that has it."""

    name: str
    environment: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a cell ended. `ran` is False when DVC found nothing to do. `log` holds everything that it printed."""

    address: str
    code: int
    ran: bool
    seconds: float
    log: Path


class Listener(Protocol):
    """Who shows what happens. Called from several threads."""

    def started(self, address: str, slot: Slot) -> None:
        """A cell got a slot."""

    def printed(self, address: str, line: str) -> None:
        """A cell printed a line."""

    def ended(self, outcome: Outcome) -> None:
        """A cell ended, well or not."""


class Cells:
    """The cells of one experiment. `stop` may be called from a signal handler while `run` waits."""

    def __init__(
        self, root: Path, environment: Mapping[str, str], logs: Path, listener: Listener, *, elsewhere: bool = False
    ) -> None:
        self._root = root
        self._elsewhere = elsewhere  # cells are jobs of a cluster, which outlive their heads here
        self._environment = environment
        self._logs = logs
        self._listener = listener
        self._groups: set[int] = set()
        self._shutdown = Shutdown(Policy(repeated=REQUESTS, killing=REQUESTS, kills_from=3 if elsewhere else 2))

    @property
    def _stopping(self) -> bool:
        return self._shutdown.phase is not Phase.RUNNING

    def run(
        self, addresses: Sequence[str], slots: Sequence[Slot], unchanged: Collection[str] = frozenset()
    ) -> list[Outcome]:
        """Run all of `addresses`, one per slot at a time; a cell that fails ends no other. Outcomes in their order.

        Those that are `unchanged` are up to date without being asked.
        """
        self._logs.mkdir(parents=True, exist_ok=True)
        outcomes = {address: self._up_to_date(address) for address in addresses if address in unchanged}
        assignment = Assignment([address for address in addresses if address not in unchanged], slots)
        running: dict[Future[Outcome], str] = {}
        with ThreadPoolExecutor(max_workers=len(slots)) as pool:
            while not assignment.is_done:
                for address, slot in assignment.next():
                    running[pool.submit(self._run_cell, address, slot)] = address
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for each in done:
                    outcome = outcomes[running.pop(each)] = each.result()
                    assignment.ended(outcome.address)
        return [outcomes[address] for address in addresses]

    def stop(self, asked_by: int = signal.SIGINT) -> None:
        """Ask all cells to checkpoint and end, and start no more; the second time they are killed.

        Jobs of a cluster are cancelled the second time, and continue unless it was Ctrl-C (SIGINT) that asked.
        """
        event = event_of(asked_by)
        self._shutdown, actions = self._shutdown.after(event)  # each cell's launcher keeps the grace period
        number = signal.SIGKILL if Action.KILL in actions else self._request(event)
        for group in list(self._groups):
            signal_group(group, number)

    def _request(self, event: Event) -> signal.Signals:
        """As Ctrl-C would: DVC leaves it to the stage. Where that is ignored (nohup), launchers heed SIGTERM only."""
        if self._elsewhere:
            return signal.SIGINT if event is Event.CTRL_C else signal.SIGTERM
        return signal.SIGTERM if is_ignored(signal.SIGINT) else signal.SIGINT

    def _up_to_date(self, address: str) -> Outcome:
        """The log is that of its last run."""
        outcome = Outcome(address=address, code=0, ran=False, seconds=0.0, log=self._log(address))
        self._listener.ended(outcome)
        return outcome

    def _log(self, address: str) -> Path:
        return self._logs / f"{address.replace('/', '-')}.log"

    def _run_cell(self, address: str, slot: Slot) -> Outcome:
        log = self._log(address)
        started = time.monotonic()
        code, ran = STOPPED, False
        if not self._stopping:
            self._listener.started(address, slot)
            with LogFile(log) as kept:
                code, ran = self._repro(address, slot, kept)
        outcome = Outcome(address=address, code=code, ran=ran, seconds=time.monotonic() - started, log=log)
        self._listener.ended(outcome)
        return outcome

    def _repro(self, address: str, slot: Slot, kept: LogFile) -> tuple[int, bool]:
        """(exit code, whether the stage's command ran) of `dvc repro -s`, repeated while another DVC is in its way."""
        for _ in range(MOST_BUSY_TRIES):
            output = _Output()
            code = self._attempt(address, slot, kept, output)
            if output.torn:
                remove_torn(self._root)
            elif code == 0 or not output.busy or self._stopping:
                break
            else:
                time.sleep(BUSY_PAUSE_S)
        return code, output.ran

    def _attempt(self, address: str, slot: Slot, kept: LogFile, output: "_Output") -> int:
        argv = [*KILL_SAFE_DVC, "--wait-for-lock", "repro", "--single-item", address]
        log.debug(f"{address}: {shlex.join(argv)} with {dict(slot.environment)}")
        with leash() as tie:
            process = start_group(argv, self._root, {**self._environment, **slot.environment})
            self._groups.add(process.pid)
            tie(process.pid)
            if self._stopping:  # asked for between the check and the start
                kill_group(process.pid)
            assert process.stdout is not None
            for line in process.stdout:
                kept.write(line.encode())
                output.read(line)
                self._listener.printed(address, line.rstrip("\n"))
            code = process.wait()
            self._groups.discard(process.pid)
        return code if code >= 0 else 128 - code


class _Output:
    """What DVC's lines say about a run."""

    def __init__(self) -> None:
        self.busy = False
        self.torn = False
        self.ran = False

    def read(self, line: str) -> None:
        self.busy = self.busy or any(words in line for words in BUSY)
        self.torn = self.torn or TORN in line
        self.ran = (self.ran or line.startswith("Running stage")) and FETCHED not in line
