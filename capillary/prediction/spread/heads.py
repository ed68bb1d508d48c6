"""The processes that wait for the jobs of a prediction, one per job, a bounded number of them at a time."""

import signal
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from capillary.lifetimes.group import start_group
from capillary.prediction.spread.parts import Part
from stages.common.lifetimes.signals import signal_group
from stages.common.program.messages import get_logger, relay

log = get_logger(__name__)

HEAD = (sys.executable, "-P", "-m", "capillary.prediction.spread.head")


class Heads:
    """Runs parts, `most` at a time. `ask` may be called from a signal handler while `run` waits."""

    def __init__(self, most: int, folder: Path, command: Sequence[str] = HEAD) -> None:
        self._most, self._folder, self._command = most, folder, command
        self._groups: set[int] = set()
        self._ends = False

    def run(self, parts: Sequence[Part]) -> Iterator[tuple[Part, int]]:
        """Each part that was started with its exit code, as they end.

        After one that failed no other is started. A part whose results are there already has ended well.
        """
        with ThreadPoolExecutor(self._most) as pool:
            running = {pool.submit(self._run, part): part for part in parts}
            try:
                for done in as_completed(running):
                    code = done.result()
                    if code is not None:
                        yield running[done], code
            except BaseException:  # also one of the caller, between two parts: jobs are found again by the next command
                self.ask(signal.SIGTERM)
                raise

    def ask(self, number: signal.Signals) -> None:
        """Pass a request to stop on to all heads, and start no more of them."""
        self._ends = True
        for group in list(self._groups):
            signal_group(group, number)

    def _run(self, part: Part) -> int | None:
        if part.target.is_dir():
            return 0
        if self._ends:
            return None
        file = self._folder / f"{part.target.name}.json"
        file.write_text(part.model_dump_json(), encoding="utf-8")
        code = self._wait(part, file)
        self._ends = self._ends or code != 0
        return code

    def _wait(self, part: Part, file: Path) -> int:
        process = start_group([*self._command, str(file)], part.root)
        self._groups.add(process.pid)
        if self._ends:  # asked for between the check and the start
            signal_group(process.pid, signal.SIGTERM)
        assert process.stdout is not None
        for line in process.stdout:
            relay(log, line.rstrip(), f"{part.address}: ")
        code = process.wait()
        self._groups.discard(process.pid)
        return code if code >= 0 else 128 - code
